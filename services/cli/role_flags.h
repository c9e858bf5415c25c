#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "services/common/role.h"
#include "services/common/settings.h"
#include <CLI/App.hpp>

namespace winnow {

// The settings of a role as options of a subcommand, with --config, and their
// resolution with the environment and the file.
//
// Must outlive the parsing of `command`, whose options point into it: keep it
// in a shared_ptr that the command's callback holds.  Not thread-safe.
class RoleFlags {
 public:
  RoleFlags() = default;
  RoleFlags(const RoleFlags&) = delete;
  RoleFlags& operator=(const RoleFlags&) = delete;

  // Adds the settings of `role`; of every role if there is none.
  void AddTo(CLI::App& command, std::optional<Role> role);

  // Once parsed: the settings of `role`, with the environment and the memory
  // of this process and the file of --config or WINNOW_CONFIG.  Errors as of
  // ResolveSettings, and NotFound for the file.
  absl::StatusOr<Settings> Resolve(Role role) const;

  // The same with another environment, for tests.
  absl::StatusOr<Settings> Resolve(
      Role role, std::map<std::string, std::string> environment) const;

 private:
  CLI::App* command_ = nullptr;
  std::string config_;
  std::map<std::string, std::string> texts_;               // by setting
  std::map<std::string, std::vector<std::string>> lists_;  // by setting
};

}  // namespace winnow
