#pragma once

#include <cstdint>

namespace winnow {

// Values that share one scale; also the block of every weight type that has
// an integer kernel.
inline constexpr int kInt8BlockValues = 32;

// Two planes of 8 bits reach this far: 128 * coarse + fine.
inline constexpr float kPlaneLimit = 127 * 128;

// A block of one token's input, rounded to 15 bits and held as two planes of 8:
//
//   input ~ scale * (128 * coarse + fine),  scale = max |block| / 16256
//
// so that integer units multiply either by the weights' bytes.  With one plane
// alone SmolLM2-135M, teacher-forced over 1,117 tokens, chose otherwise than in
// float32 where the two best logits were up to 0.75 apart; with two nowhere
// beyond 0.02.  Decode waits for memory, not for the second product.
struct alignas(16) Int8Block {
  int8_t coarse[kInt8BlockValues];
  int8_t fine[kInt8BlockValues];  // in [-64, 63]
  float scale;
  int32_t integer_sum;  // of 128 * coarse + fine
  float sum;            // scale * integer_sum
};

// Rounds one row of `cols` values, a multiple of 32, to blocks[cols / 32].
// AVX2.
void QuantizeInt8(const float* input, int64_t cols, Int8Block* blocks);

}  // namespace winnow
