#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace winnow {

// What a process of Winnow is.  kServe is all the others in one process.
enum class Role : uint8_t { kServe, kGateway, kPrefill, kStore, kDecode };

// By value of Role, as the subcommands are called.
inline constexpr std::array<std::string_view, 5> kRoleNames = {
    "serve", "gateway", "prefill", "store", "decode"};

constexpr std::string_view RoleName(Role role) {
  return kRoleNames[static_cast<size_t>(role)];
}

}  // namespace winnow
