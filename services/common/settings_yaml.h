#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace winnow {

inline constexpr size_t kMaxSettingsFile = 65536;  // bytes

// What a YAML file says about one setting.
struct YamlSetting {
  std::vector<std::string> texts;  // one, or the entries of a list
  int line = 0;                    // from 1
};

// Reads one YAML document: a flat map from names to a scalar or to a list of
// scalars.  An empty document is an empty map.  `path` is for messages.
//
// InvalidArgument, with path and line: not YAML or not UTF-8, more than
// kMaxSettingsFile bytes, a name twice, a value that is missing or nested,
// anchors, aliases, tags, a second document.  Whether a name is known is not
// looked at.
absl::StatusOr<std::map<std::string, YamlSetting>> ParseSettingsYaml(
    std::string_view path, std::string_view text);

}  // namespace winnow
