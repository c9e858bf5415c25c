#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "services/common/service_settings.h"
#include "services/common/setting_registry.h"

namespace winnow {

inline constexpr size_t kMaxSettingText = 4096;  // bytes of one value
inline constexpr size_t kMaxSettingList = 16;    // entries of a list

// Reads `texts` (one, but for a list) into the member that `spec` names.
// InvalidArgument says what is allowed; `settings` is then unchanged.
absl::Status ParseSetting(const SettingSpec& spec,
                          const std::vector<std::string>& texts,
                          ServiceSettings& settings);

// The value as ParseSetting reads it back.
std::vector<std::string> FormatSetting(const SettingSpec& spec,
                                       const ServiceSettings& settings);

// "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH" of at most 107 bytes; port 0 only
// with `any_port`.  The form alone: the host is not looked up.
absl::Status CheckAddress(std::string_view address, bool any_port);

}  // namespace winnow
