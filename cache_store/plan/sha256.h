#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace winnow {

// SHA-256 of `bytes`.
std::array<uint8_t, 32> Sha256Of(std::string_view bytes);

}  // namespace winnow
