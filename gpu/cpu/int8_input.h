#pragma once

#include <cstdint>

namespace winnow {

// Values that share one scale; also the block of every weight type that has
// an integer kernel.
inline constexpr int kInt8BlockValues = 32;
inline constexpr int kInt8GroupBlocks = 4;
inline constexpr int kInt8GroupValues = kInt8BlockValues * kInt8GroupBlocks;

// Four blocks of one token's input, rounded to 8-bit integers: value i of
// block b is about values[..] * scale(b), scale(b) = max |block b| / 127.
//
// Weights of 4 and 5 bits store value i and value i + 16 of a block in one
// byte, so the first halves of the four blocks lie together, then the second
// halves: value i of block b is at (i / 16) * 64 + b * 16 + i % 16.
struct alignas(64) Int8Group {
  int8_t values[kInt8GroupValues];
  float scales[16];  // scale(b) four times: one per 32-bit lane of a product
  float sums[4];     // scale(b) * sum of the integers of block b
};

constexpr int64_t Int8GroupCount(int64_t cols) {
  return (cols + kInt8GroupValues - 1) / kInt8GroupValues;
}

// Rounds one row of `cols` values, a multiple of 32, to
// groups[Int8GroupCount(cols)]; blocks beyond the row become zero.  AVX2.
void QuantizeInt8(const float* input, int64_t cols, Int8Group* groups);

}  // namespace winnow
