#include "services/cli/role_flags.h"

#include <utility>

#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/cli/options.h"
#include "services/common/cgroup_memory.h"
#include "services/common/settings_yaml.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

std::map<std::string, std::string> ProcessEnvironment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return environment;
}

}  // namespace

void RoleFlags::AddTo(CLI::App& command, std::optional<Role> role) {
  command_ = &command;
  command
      .add_option("--config", config_,
                  "YAML file of settings; default: $WINNOW_CONFIG")
      ->type_name("FILE");
  for (const SettingSpec& spec : SettingRegistry()) {
    if (role && !spec.AppliesTo(*role)) {
      continue;
    }
    const std::string flag = absl::StrCat("--", Absl(spec.name));
    const std::string description(spec.description);
    const std::string name(spec.name);
    if (std::holds_alternative<bool ServiceSettings::*>(spec.member)) {
      command.add_flag(flag, texts_[name], description);
      continue;
    }
    const bool is_list =
        std::holds_alternative<std::vector<std::string> ServiceSettings::*>(
            spec.member);
    CLI::Option* option =
        is_list ? command.add_option(flag, lists_[name], description)
                      ->allow_extra_args(false)
                : command.add_option(flag, texts_[name], description);
    option->type_name(TypeName(spec));
    // The default of addresses and sizes may depend on the role and machine.
    const bool is_fixed = !spec.default_text.empty();
    if (is_fixed) {
      option->default_str(std::string(spec.default_text));
    }
  }
}

absl::StatusOr<Settings> RoleFlags::Resolve(Role role) const {
  return Resolve(role, ProcessEnvironment());
}

absl::StatusOr<Settings> RoleFlags::Resolve(
    Role role, std::map<std::string, std::string> environment) const {
  SettingSources sources;
  for (const auto& [name, text] : texts_) {
    if (command_->count("--" + name) > 0) {
      sources.flags[name] = {text};
    }
  }
  for (const auto& [name, texts] : lists_) {
    if (command_->count("--" + name) > 0) {
      sources.flags[name] = texts;
    }
  }
  sources.environment = std::move(environment);
  sources.file_path = SettingsPath(config_, sources.environment);
  sources.memory_bytes = UsableMemoryBytes();
  if (!sources.file_path.empty()) {
    WINNOW_ASSIGN_OR_RETURN(sources.file_text,
                            ReadTextFile(sources.file_path, kMaxSettingsFile));
  }
  return ResolveSettings(role, sources);
}

}  // namespace winnow
