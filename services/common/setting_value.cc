#include "services/common/setting_value.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/base/utf8.h"
#include "services/common/units.h"

namespace winnow {
namespace {

constexpr size_t kMaxQuoted = 64;     // bytes of a value in a message
constexpr size_t kMaxUnixPath = 107;  // of sockaddr_un, without its end
constexpr size_t kMaxHost = 253;      // of a DNS name

std::string Quoted(std::string_view text) {
  return absl::StrCat("'", absl::CHexEscape(Absl(text.substr(0, kMaxQuoted))),
                      text.size() > kMaxQuoted ? "..." : "", "'");
}

bool IsHostByte(char byte) {
  return absl::ascii_isalnum(static_cast<unsigned char>(byte)) || byte == '.' ||
         byte == '-' || byte == '_';
}

bool IsIpv6Byte(char byte) {
  return absl::ascii_isxdigit(static_cast<unsigned char>(byte)) ||
         byte == ':' || byte == '.';
}

bool IsHost(std::string_view host) {
  if (host.size() > kMaxHost) {
    return false;
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    return host.size() > 3 &&
           std::ranges::all_of(host.substr(1, host.size() - 2), IsIpv6Byte);
  }
  return !host.empty() && std::ranges::all_of(host, IsHostByte);
}

absl::Status CheckText(const SettingSpec& spec, std::string_view text) {
  if (ValidateUtf8(text) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is not valid UTF-8; convert it to UTF-8"));
  }
  const bool has_control = std::ranges::any_of(text, [](char byte) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(byte));
  });
  if (has_control) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " has a control character; leave it out"));
  }
  switch (spec.form) {
    case TextForm::kAny:
      return absl::OkStatus();
    case TextForm::kOptionalListenAddress:
      return text.empty() ? absl::OkStatus() : CheckAddress(text, true);
    case TextForm::kListenAddress:
      return CheckAddress(text, true);
    case TextForm::kPeerAddress:
      break;
  }
  return CheckAddress(text, false);
}

absl::Status OutOfRange(std::string_view text, std::string_view least,
                        std::string_view most) {
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text), " is out of range; give a value from ",
                   Absl(least), " to ", Absl(most)));
}

absl::Status Parse(const SettingSpec& /*spec*/, std::string_view text,
                   bool& value) {
  if (text != "true" && text != "false") {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is neither true nor false"));
  }
  value = text == "true";
  return absl::OkStatus();
}

absl::Status Parse(const SettingSpec& spec, std::string_view text, int& value) {
  uint64_t number = 0;
  const bool is_number =
      !text.empty() &&
      text.find_first_not_of("0123456789") == std::string_view::npos &&
      absl::SimpleAtoi(Absl(text), &number);
  if (!is_number || number < spec.min || number > spec.max) {
    return OutOfRange(text, absl::StrCat(spec.min), absl::StrCat(spec.max));
  }
  value = static_cast<int>(number);
  return absl::OkStatus();
}

absl::Status Parse(const SettingSpec& spec, std::string_view text,
                   uint64_t& value) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(text));
  if (bytes < spec.min || bytes > spec.max) {
    return OutOfRange(text, FormatByteSize(spec.min), FormatByteSize(spec.max));
  }
  value = bytes;
  return absl::OkStatus();
}

absl::Status Parse(const SettingSpec& spec, std::string_view text,
                   absl::Duration& value) {
  WINNOW_ASSIGN_OR_RETURN(const absl::Duration duration, ParseDuration(text));
  const absl::Duration least =
      absl::Milliseconds(static_cast<int64_t>(spec.min));
  const absl::Duration most =
      absl::Milliseconds(static_cast<int64_t>(spec.max));
  if (duration < least || duration > most) {
    return OutOfRange(text, absl::FormatDuration(least),
                      absl::FormatDuration(most));
  }
  value = duration;
  return absl::OkStatus();
}

absl::Status Parse(const SettingSpec& spec, std::string_view text,
                   std::string& value) {
  WINNOW_RETURN_IF_ERROR(CheckText(spec, text));
  value = text;
  return absl::OkStatus();
}

template <typename Choice>
  requires std::is_enum_v<Choice>
absl::Status Parse(const SettingSpec& spec, std::string_view text,
                   Choice& value) {
  const auto choices = ChoicesOf(spec);
  const auto found = std::ranges::find(choices, text);
  if (found == choices.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is not one of ", TypeName(spec)));
  }
  value = static_cast<Choice>(found - choices.begin());
  return absl::OkStatus();
}

absl::Status ParseList(const SettingSpec& spec,
                       const std::vector<std::string>& texts,
                       std::vector<std::string>& values) {
  if (texts.empty() || texts.size() > kMaxSettingList) {
    return absl::InvalidArgumentError(
        absl::StrCat(texts.size(), " values are given; give 1 to ",
                     kMaxSettingList, " of them"));
  }
  for (const std::string& text : texts) {
    WINNOW_RETURN_IF_ERROR(CheckText(spec, text));
  }
  values = texts;
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAddress(std::string_view address, bool any_port) {
  if (address.starts_with("unix:")) {
    const std::string_view path = address.substr(5);
    if (path.size() >= 2 && path.starts_with('/') &&
        path.size() <= kMaxUnixPath) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(address),
                     " is not the address of a socket; write unix: and an "
                     "absolute path of at most ",
                     kMaxUnixPath, " bytes"));
  }
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string_view::npos) {
    const std::string_view digits = address.substr(colon + 1);
    const bool is_number =
        !digits.empty() && digits.size() <= 5 &&
        digits.find_first_not_of("0123456789") == std::string_view::npos;
    if (!is_number || !absl::SimpleAtoi(Absl(digits), &port)) {
      port = -1;
    }
  }
  if (port < (any_port ? 0 : 1) || port > 65535 ||
      !IsHost(address.substr(0, colon))) {
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(address),
        " is not an address; write HOST:PORT, such as 127.0.0.1:7700, or "
        "unix:/PATH"));
  }
  return absl::OkStatus();
}

absl::Status ParseSetting(const SettingSpec& spec,
                          const std::vector<std::string>& texts,
                          ServiceSettings& settings) {
  for (const std::string& text : texts) {
    if (text.size() > kMaxSettingText) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(text), " has ", text.size(), " bytes; at most ",
                       kMaxSettingText, " are allowed"));
    }
  }
  return std::visit(
      [&](auto member) -> absl::Status {
        using Value = std::remove_reference_t<decltype(settings.*member)>;
        if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          return ParseList(spec, texts, settings.*member);
        } else {
          if (texts.size() != 1) {
            return absl::InvalidArgumentError(
                absl::StrCat("it takes one value, not ", texts.size()));
          }
          return Parse(spec, texts.front(), settings.*member);
        }
      },
      spec.member);
}

std::vector<std::string> FormatSetting(const SettingSpec& spec,
                                       const ServiceSettings& settings) {
  return std::visit(
      [&](auto member) -> std::vector<std::string> {
        const auto& value = settings.*member;
        using Value = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          return value;
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return {value};
        } else if constexpr (std::is_same_v<Value, bool>) {
          return {value ? "true" : "false"};
        } else if constexpr (std::is_same_v<Value, int>) {
          return {absl::StrCat(value)};
        } else if constexpr (std::is_same_v<Value, uint64_t>) {
          return {FormatByteSize(value)};
        } else if constexpr (std::is_same_v<Value, absl::Duration>) {
          return {absl::FormatDuration(value)};
        } else {
          return {std::string(ChoicesOf(spec)[static_cast<size_t>(value)])};
        }
      },
      spec.member);
}

}  // namespace winnow
