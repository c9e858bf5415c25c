#pragma once

#include <bit>
#include <cstdint>

namespace winnow {

// bfloat16 is the upper half of a float32.  This is the one place that says how
// the lower half is rounded away: to nearest, ties to even; denormals are kept,
// a NaN stays a (quiet) NaN.
constexpr uint16_t ToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded >> 16);
}

constexpr float FromBfloat16(uint16_t value) {
  return std::bit_cast<float>(uint32_t{value} << 16);
}

}  // namespace winnow
