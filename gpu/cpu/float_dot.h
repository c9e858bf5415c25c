#pragma once

#include <cstdint>

namespace winnow {

// sums[t] = sum over c of input[t * cols + c] * weights[c], in float32, with
// AVX2.  A token's sum does not depend on the other tokens.
void FloatDot(const float* weights, int64_t cols, const float* input,
              int num_tokens, float* sums);

}  // namespace winnow
