#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"

#include "services/common/role.h"
#include "services/common/service_settings.h"

namespace winnow {

// The member that a setting fills, which is also its type.
using SettingMember =
    std::variant<std::string ServiceSettings::*,
                 std::vector<std::string> ServiceSettings::*,
                 bool ServiceSettings::*, int ServiceSettings::*,
                 uint64_t ServiceSettings::*, absl::Duration ServiceSettings::*,
                 Numerics ServiceSettings::*, KvDtype ServiceSettings::*,
                 LogLevel ServiceSettings::*, LogFormat ServiceSettings::*>;

// What a text must be, beside UTF-8 without control characters.
enum class TextForm : uint8_t {
  kAny,
  kListenAddress,          // of a socket to listen on
  kOptionalListenAddress,  // or nothing
  kPeerAddress,            // of a server to call
};

// One setting: `--name`, WINNOW_NAME with underscores, `name:` in YAML.
struct SettingSpec {
  std::string_view name;
  SettingMember member;
  uint64_t roles;  // bit 1 << Role
  // As one would write it.  Empty for texts: none; for store-size and the
  // addresses to listen on: DefaultText makes it.
  std::string_view default_text;
  std::string_view description;
  // Range: a count, bytes, or milliseconds.
  uint64_t min = 0;
  uint64_t max = 0;
  TextForm form = TextForm::kAny;

  bool AppliesTo(Role role) const {
    return (roles >> static_cast<int>(role) & 1) != 0;
  }
};

// All settings, in the order in which they are shown.
std::span<const SettingSpec> SettingRegistry();

// Nothing if there is none of that name.
const SettingSpec* FindSetting(std::string_view name);

// "WINNOW_LEASE_TTL" for "lease-ttl".
std::string EnvironmentName(std::string_view name);

// The names a choice may have, by value of its enumeration; empty for others.
std::span<const std::string_view> ChoicesOf(const SettingSpec& spec);

// What stands in --help for the value: "SIZE", "TIME", "fast|float32".
std::string TypeName(const SettingSpec& spec);

// The default for `role` on a machine that gives it `memory_bytes`.
std::string DefaultText(const SettingSpec& spec, Role role,
                        uint64_t memory_bytes);

// "serve, gateway"
std::string RolesOf(const SettingSpec& spec);

}  // namespace winnow
