#include "gpu/cpu/int8_input.h"

#include <immintrin.h>

#include "hwy/base.h"

HWY_PUSH_ATTRIBUTES("avx2,fma,f16c")
namespace winnow {
namespace {

float LargestMagnitude(const __m256 values[4]) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 a = _mm256_max_ps(_mm256_andnot_ps(sign, values[0]),
                                 _mm256_andnot_ps(sign, values[1]));
  const __m256 b = _mm256_max_ps(_mm256_andnot_ps(sign, values[2]),
                                 _mm256_andnot_ps(sign, values[3]));
  const __m256 ab = _mm256_max_ps(a, b);
  __m128 m =
      _mm_max_ps(_mm256_castps256_ps128(ab), _mm256_extractf128_ps(ab, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  m = _mm_max_ss(m, _mm_movehdup_ps(m));
  return _mm_cvtss_f32(m);
}

int32_t Sum(__m256i lanes) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(lanes),
                            _mm256_extracti128_si256(lanes, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// Thirty-two 32-bit integers that fit to bytes.
void StoreBytes(const __m256i integers[4], int8_t* bytes) {
  // Packing works within 128-bit lanes; the permutation restores the order.
  const __m256i packed = _mm256_permutevar8x32_epi32(
      _mm256_packs_epi16(_mm256_packs_epi32(integers[0], integers[1]),
                         _mm256_packs_epi32(integers[2], integers[3])),
      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), packed);
}

void QuantizeBlock(const float* input, Int8Block& block) {
  __m256 values[4];
  for (int i = 0; i < 4; ++i) {
    values[i] = _mm256_loadu_ps(input + 8 * i);
  }
  const float largest = LargestMagnitude(values);
  // A block so small that the inverse overflows rounds to zero.
  const __m256 inverse =
      _mm256_set1_ps(largest > 1e-34f ? kPlaneLimit / largest : 0.0f);
  __m256i coarse[4];
  __m256i fine[4];
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    const __m256i rounded =
        _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
    sum = _mm256_add_epi32(sum, rounded);
    coarse[i] =
        _mm256_srai_epi32(_mm256_add_epi32(rounded, _mm256_set1_epi32(64)), 7);
    fine[i] = _mm256_sub_epi32(rounded, _mm256_slli_epi32(coarse[i], 7));
  }
  StoreBytes(coarse, block.coarse);
  StoreBytes(fine, block.fine);
  block.scale = largest / kPlaneLimit;
  block.integer_sum = Sum(sum);
  block.sum = block.scale * static_cast<float>(block.integer_sum);
}

}  // namespace

void QuantizeInt8(const float* input, int64_t cols, Int8Block* blocks) {
  for (int64_t i = 0; i < cols / kInt8BlockValues; ++i) {
    QuantizeBlock(input + i * kInt8BlockValues, blocks[i]);
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
