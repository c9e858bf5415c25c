#include "gpu/cpu/int8_input.h"

#include <cstring>

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

void QuantizeBlock(const float* input, int block, Int8Group& group) {
  __m256 values[4];
  for (int i = 0; i < 4; ++i) {
    values[i] = _mm256_loadu_ps(input + 8 * i);
  }
  const float largest = LargestMagnitude(values);
  const float scale = largest / 127.0f;
  // A block so small that 127 / largest overflows rounds to zero.
  const __m256 inverse =
      _mm256_set1_ps(largest > 1e-36f ? 127.0f / largest : 0.0f);
  __m256i rounded[4];
  for (int i = 0; i < 4; ++i) {
    rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
  }
  const __m256i sum =
      _mm256_add_epi32(_mm256_add_epi32(rounded[0], rounded[1]),
                       _mm256_add_epi32(rounded[2], rounded[3]));
  // Packing works within 128-bit lanes; the permutation restores the order.
  const __m256i packed = _mm256_permutevar8x32_epi32(
      _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                         _mm256_packs_epi32(rounded[2], rounded[3])),
      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm_store_si128(reinterpret_cast<__m128i*>(group.values + 16 * block),
                  _mm256_castsi256_si128(packed));
  _mm_store_si128(reinterpret_cast<__m128i*>(group.values + 64 + 16 * block),
                  _mm256_extracti128_si256(packed, 1));
  _mm_store_ps(group.scales + 4 * block, _mm_set1_ps(scale));
  group.sums[block] = scale * static_cast<float>(Sum(sum));
}

}  // namespace

void QuantizeInt8(const float* input, int64_t cols, Int8Group* groups) {
  const int64_t blocks = cols / kInt8BlockValues;
  if (blocks % kInt8GroupBlocks != 0) {
    std::memset(&groups[blocks / kInt8GroupBlocks], 0, sizeof(Int8Group));
  }
  for (int64_t block = 0; block < blocks; ++block) {
    QuantizeBlock(input + block * kInt8BlockValues,
                  static_cast<int>(block % kInt8GroupBlocks),
                  groups[block / kInt8GroupBlocks]);
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
