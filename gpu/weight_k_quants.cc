#include "gpu/weight_k_quants.h"

#include <cstdint>

#include "gpu/float16.h"

// Formats of 256 weights, little-endian; `d` and `dmin` are binary16.
//
//   Q4_K := d dmin scales:u8[12] qs:u8[128]
//   Q5_K := d dmin scales:u8[12] qh:u8[32] qs:u8[128]
//           weight = d * scale[g] * q - dmin * minimum[g]; g = 8 groups of 32,
//           scale and minimum of 6 bits each
//   Q6_K := ql:u8[128] qh:u8[64] scales:i8[16] d
//           weight = d * scale[g] * (q - 32); g = 16 groups of 16
//
// Golden values: tests/golden/weights.

namespace winnow {
namespace {

int U8(std::byte value) { return std::to_integer<int>(value); }

struct ScaleMinimum {
  int scale;
  int minimum;
};

// The twelve bytes of 6-bit scales and minimums: groups 0..3 lie in the low
// six bits of bytes 0..7; of groups 4..7 the low four bits lie in bytes 8..11
// and the high two bits on top of bytes 0..7.
ScaleMinimum GroupOf(const std::byte* scales, int group) {
  if (group < 4) {
    return {U8(scales[group]) & 63, U8(scales[group + 4]) & 63};
  }
  const int low = U8(scales[group + 4]);
  return {(low & 15) | (U8(scales[group - 4]) >> 6) << 4,
          (low >> 4) | (U8(scales[group]) >> 6) << 4};
}

// Q4_K and Q5_K.  `high_bits`, if not null, holds the fifth bit of element i
// of group g in bit g of byte i.
void DequantizeGroups(const std::byte* block, const std::byte* quants,
                      const std::byte* high_bits, float* output) {
  const float scale = HalfToFloat(ReadU16(block));
  const float minimum = HalfToFloat(ReadU16(block + 2));
  for (int group = 0; group < 8; ++group) {
    const ScaleMinimum six_bits = GroupOf(block + 4, group);
    const float d = scale * static_cast<float>(six_bits.scale);
    const float m = minimum * static_cast<float>(six_bits.minimum);
    const std::byte* nibbles = quants + group / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      int q = U8(nibbles[i]) >> (group % 2 * 4) & 15;
      if (high_bits != nullptr) {
        q |= (U8(high_bits[i]) >> group & 1) << 4;
      }
      output[group * 32 + i] = d * static_cast<float>(q) - m;
    }
  }
}

}  // namespace

void DequantizeQ4K(const std::byte* block, float* output) {
  DequantizeGroups(block, block + 16, nullptr, output);
}

void DequantizeQ5K(const std::byte* block, float* output) {
  DequantizeGroups(block, block + 48, block + 16, output);
}

void DequantizeQ6K(const std::byte* block, float* output) {
  const std::byte* low = block;
  const std::byte* high = block + 128;
  const std::byte* scales = block + 192;
  const float d = HalfToFloat(ReadU16(block + 208));
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;        // halves of 128 weights
    const int quarter = i / 32 % 4;  // of which four quarters share bytes
    const int lane = i % 32;
    const int four_bits =
        U8(low[half * 64 + quarter % 2 * 32 + lane]) >> (quarter / 2 * 4) & 15;
    const int two_bits = U8(high[half * 32 + lane]) >> (quarter * 2) & 3;
    const auto scale = static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    const float step = d * scale;
    output[i] = step * static_cast<float>((four_bits | two_bits << 4) - 32);
  }
}

}  // namespace winnow
