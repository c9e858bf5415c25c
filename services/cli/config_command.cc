#include <algorithm>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "gpu/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/output.h"
#include "services/cli/role_flags.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

struct ConfigFlags {
  RoleFlags settings;
  std::string role = "serve";
  bool json = false;
};

Role RoleOf(const std::string& name) {
  const auto found = std::ranges::find(kRoleNames, name);
  return static_cast<Role>(found - kRoleNames.begin());
}

Json ConfigJson(const std::string& role, const Settings& settings) {
  Json json;
  json["role"] = role;
  json["settings"] = Json::array();
  for (const ResolvedSetting& setting : settings.resolved) {
    Json entry;
    entry["name"] = setting.spec->name;
    const bool is_list =
        std::holds_alternative<std::vector<std::string> ServiceSettings::*>(
            setting.spec->member);
    if (is_list) {
      entry["value"] = setting.texts;
    } else {
      entry["value"] = setting.texts.front();
    }
    entry["origin"] = setting.origin;
    json["settings"].push_back(std::move(entry));
  }
  return json;
}

void PrintTable(const Settings& settings) {
  std::vector<std::array<std::string, 3>> rows;
  std::array<size_t, 2> widths = {};
  for (const ResolvedSetting& setting : settings.resolved) {
    std::string value = absl::StrJoin(setting.texts, ",");
    if (value.empty()) {
      value = "\"\"";
    }
    rows.push_back({std::string(setting.spec->name), value, setting.origin});
    for (size_t i = 0; i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], rows.back()[i].size());
    }
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < widths.size(); ++i) {
      std::cout << row[i] << std::string(widths[i] - row[i].size() + 2, ' ');
    }
    std::cout << row[2] << "\n";
  }
}

absl::Status RunConfigPrint(const ConfigFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const Settings settings,
                          flags.settings.Resolve(RoleOf(flags.role)));
  if (flags.json) {
    std::cout << Dump(ConfigJson(flags.role, settings)) << "\n";
  } else {
    PrintTable(settings);
  }
  return absl::OkStatus();
}

}  // namespace

void AddConfigCommand(CLI::App& app, absl::Status& status) {
  auto* config = app.add_subcommand("config", "Settings of the services");
  config->require_subcommand(1);
  auto* print = config->add_subcommand(
      "print", "Print each setting of a role, its value and where it is from");
  const auto flags = std::make_shared<ConfigFlags>();
  print->add_option("--role", flags->role, "whose settings")
      ->check(CLI::IsMember({"serve", "gateway", "prefill", "store", "decode"}))
      ->capture_default_str();
  print->add_flag("--json", flags->json, "print a JSON object");
  flags->settings.AddTo(*print, std::nullopt);
  print->footer(
      "Flags go over WINNOW_* variables (WINNOW_LEASE_TTL), these over the\n"
      "YAML file (lease-ttl: 2m), that over defaults.\n\n"
      "Examples:\n"
      "  winnow config print\n"
      "  WINNOW_STORE_SIZE=4GiB winnow config print --role store --json");
  print->callback([flags, &status] { status = RunConfigPrint(*flags); });
}

}  // namespace winnow
