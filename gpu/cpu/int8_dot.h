#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/cpu/int8_input.h"
#include "gpu/weight.h"

namespace winnow {

// Rows [first_row, last_row) of a linear operation on an input rounded to
// integers; the weight blocks are read in place.
struct Int8DotArgs {
  WeightView weight;
  int64_t first_row = 0;
  int64_t last_row = 0;
  const Int8Block* input = nullptr;  // [num_tokens, cols / 32]
  int num_tokens = 0;
  const float* bias = nullptr;  // [weight.rows], or null
  float* output = nullptr;      // [num_tokens, weight.rows]
  bool accumulate = false;
};

// The products of integers are exact; each token's result is the same whatever
// the other tokens are and however the rows are split.
using Int8Dot = void (*)(const Int8DotArgs& args);

// For a weight in rows, with AVX2; null for the types that have no integer
// kernel: all but Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
Int8Dot SelectInt8Dot(WeightType type);

}  // namespace winnow
