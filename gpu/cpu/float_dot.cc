#include "gpu/cpu/float_dot.h"

#include <immintrin.h>

#include "hwy/base.h"

HWY_PUSH_ATTRIBUTES("avx2,fma")
namespace winnow {
namespace {

constexpr int kLanes = 8;

float Total(__m256 lanes) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes),
                          _mm256_extractf128_ps(lanes, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
  return _mm_cvtss_f32(sum);
}

template <int kTokens>
void DotTokens(const float* weights, int64_t cols, const float* input,
               float* sums) {
  // Two sums a token hide the latency of the multiply-add.
  __m256 even[kTokens];
  __m256 odd[kTokens];
  for (int token = 0; token < kTokens; ++token) {
    even[token] = odd[token] = _mm256_setzero_ps();
  }
  int64_t col = 0;
  for (; col + 2 * kLanes <= cols; col += 2 * kLanes) {
    const __m256 w0 = _mm256_loadu_ps(weights + col);
    const __m256 w1 = _mm256_loadu_ps(weights + col + kLanes);
    for (int token = 0; token < kTokens; ++token) {
      const float* x = input + token * cols + col;
      even[token] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(x), even[token]);
      odd[token] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(x + kLanes), odd[token]);
    }
  }
  for (int token = 0; token < kTokens; ++token) {
    float sum = Total(_mm256_add_ps(even[token], odd[token]));
    for (int64_t rest = col; rest < cols; ++rest) {
      sum += weights[rest] * input[token * cols + rest];
    }
    sums[token] = sum;
  }
}

}  // namespace

void FloatDot(const float* weights, int64_t cols, const float* input,
              int num_tokens, float* sums) {
  int token = 0;
  for (; token + 4 <= num_tokens; token += 4) {
    DotTokens<4>(weights, cols, input + token * cols, sums + token);
  }
  if (token + 2 <= num_tokens) {
    DotTokens<2>(weights, cols, input + token * cols, sums + token);
    token += 2;
  }
  if (token < num_tokens) {
    DotTokens<1>(weights, cols, input + token * cols, sums + token);
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
