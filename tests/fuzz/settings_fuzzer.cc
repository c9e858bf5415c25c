// Settings from outside: a YAML file up to the first zero byte, then variables
// without WINNOW_, each ended by a zero byte.  Nothing crashes, and what was
// accepted reads back from its own text as flags.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/strings/match.h"

#include "services/common/settings.h"

namespace {

// The part of `bytes` up to the next zero byte, which is taken off.
std::string_view TakePart(std::string_view& bytes) {
  const std::string_view part = bytes.substr(0, bytes.find('\0'));
  bytes.remove_prefix(std::min(bytes.size(), part.size() + 1));
  return part;
}

void CheckReadsBack(winnow::Role role, const winnow::Settings& settings) {
  winnow::SettingSources flags;
  for (const winnow::ResolvedSetting& setting : settings.resolved) {
    for (const std::string& text : setting.texts) {
      const bool is_list = setting.spec->name == "listen";
      if (is_list && absl::StrContains(text, ',')) {
        return;  // a file may say what a flag would split
      }
    }
    flags.flags.emplace(setting.spec->name, setting.texts);
  }
  const auto again = winnow::ResolveSettings(role, flags);
  if (!again.ok()) {
    std::abort();
  }
  for (size_t i = 0; i < settings.resolved.size(); ++i) {
    if (again->resolved[i].texts != settings.resolved[i].texts ||
        again->resolved[i].origin != "flag") {
      std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(bytes), size);
  winnow::SettingSources sources;
  sources.file_path = "f";
  sources.file_text = TakePart(rest);
  while (!rest.empty()) {
    const std::string_view line = TakePart(rest);
    const std::string_view name = line.substr(0, line.find('='));
    sources.environment["WINNOW_" + std::string(name)] =
        line.substr(std::min(line.size(), name.size() + 1));
  }
  for (const winnow::Role role :
       {winnow::Role::kServe, winnow::Role::kGateway, winnow::Role::kDecode}) {
    const auto settings = winnow::ResolveSettings(role, sources);
    if (settings.ok()) {
      CheckReadsBack(role, *settings);
    }
  }
  return 0;
}
