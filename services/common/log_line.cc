#include "services/common/log_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include <nlohmann/json.hpp>

namespace winnow {
namespace {

std::string Cut(std::string_view value) {
  return absl::StrCat(Absl(value.substr(0, kMaxLogValue)),
                      value.size() > kMaxLogValue ? "..." : "");
}

void AppendEscaped(std::string_view value, std::string& line) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char byte : value) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == '\n') {
      line += "\\n";
    } else if (byte == '\t') {
      line += "\\t";
    } else if (byte == '"' || byte == '\\') {
      line += {'\\', byte};
    } else if (absl::ascii_isprint(code)) {
      line += byte;
    } else {  // bytes above ASCII too: some of them drive terminals
      line += {'\\', 'x', kHex[code >> 4], kHex[code & 15]};
    }
  }
}

bool IsPlain(std::string_view value) {
  return !value.empty() && std::ranges::all_of(value, [](char byte) {
    return absl::ascii_isalnum(static_cast<unsigned char>(byte)) ||
           absl::StrContains("-_.:/+@%,", byte);
  });
}

std::string Timestamp(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string FormatText(const LogEvent& event) {
  static constexpr std::array<std::string_view, 4> kTags = {"DEBUG", "INFO ",
                                                            "WARN ", "ERROR"};
  std::string line =
      absl::StrCat(Timestamp(event.time), " ",
                   Absl(kTags[static_cast<size_t>(event.level)]), " ");
  AppendEscaped(Cut(event.message), line);
  for (const LogField& field : event.fields) {
    line += ' ';
    AppendEscaped(Cut(field.name), line);
    line += '=';
    const bool plain = IsPlain(field.value);
    line += plain ? "" : "\"";
    AppendEscaped(Cut(field.value), line);
    line += plain ? "" : "\"";
  }
  return line;
}

std::string FormatJson(const LogEvent& event) {
  nlohmann::ordered_json json;
  json["time"] = Timestamp(event.time);
  json["level"] = kLogLevelNames[static_cast<size_t>(event.level)];
  json["message"] = Cut(event.message);
  for (const LogField& field : event.fields) {
    json.emplace(Cut(field.name), Cut(field.value));
  }
  return json.dump(-1, ' ', /*ensure_ascii=*/true,
                   nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

std::string FormatLogLine(LogFormat format, const LogEvent& event) {
  LogEvent bounded = event;
  bounded.fields =
      event.fields.first(std::min(event.fields.size(), kMaxLogFields));
  return format == LogFormat::kJson ? FormatJson(bounded) : FormatText(bounded);
}

}  // namespace winnow
