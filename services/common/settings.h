#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "services/common/role.h"
#include "services/common/service_settings.h"
#include "services/common/setting_registry.h"

namespace winnow {

// The settings of a role: flags over WINNOW_* variables over one YAML file over
// defaults.  Nothing here looks at the process itself.

// Where settings may come from.
struct SettingSources {
  // By name without dashes: {"lease-ttl", {"2m"}}.  A list is repeated, or
  // separated by commas.
  std::map<std::string, std::vector<std::string>> flags;
  // All variables of the environment; those not WINNOW_* are passed over.
  std::map<std::string, std::string> environment;
  std::string file_path;                 // of file_text, for messages
  std::optional<std::string> file_text;  // YAML; nothing: there is no file
  uint64_t memory_bytes = 0;             // that the process may use
};

// One setting of the role, for `config print`.
struct ResolvedSetting {
  const SettingSpec* spec;         // lives as long as the program
  std::vector<std::string> texts;  // the value, in its shortest form
  // "default", "flag", "environment WINNOW_LEASE_TTL" or "file PATH:LINE".
  std::string origin;
};

struct Settings {
  ServiceSettings values;
  std::vector<ResolvedSetting> resolved;  // those of the role, in their order
};

// The settings of `role`.
//
// A variable or line of the file for another role is checked like the others
// and otherwise passed over, so that one file serves all roles; a flag for
// another role is an error.
//
// InvalidArgument names the source: a name that is not known, with the nearest
// one that is; a value that is wrong, with what is allowed; values that do not
// go together.
absl::StatusOr<Settings> ResolveSettings(Role role,
                                         const SettingSources& sources);

// The file that `flag` (of --config) or else WINNOW_CONFIG names; empty: none.
std::string SettingsPath(const std::string& flag,
                         const std::map<std::string, std::string>& environment);

}  // namespace winnow
