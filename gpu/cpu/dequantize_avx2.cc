// Quantised weights to float32 with AVX2, eight at a time.
//
// Bit for bit what gpu/weight.cc computes: a product of a 16-bit float and an
// integer of 8 bits is exact, so the fused multiply-add rounds once, as the
// separate addition of a minimum does.

#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/dequantize_kernels.h"
#include "hwy/base.h"

HWY_PUSH_ATTRIBUTES("avx2,fma,f16c")
namespace winnow {
namespace {

float LoadHalf(const std::byte* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof(half));
  return _cvtsh_ss(half);
}

__m128i Load16(const std::byte* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// Sixteen signed bytes, each scale * byte + minimum.
void Store16(__m128i bytes, __m256 scale, __m256 minimum, float* output) {
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  const __m256 high =
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
  _mm256_storeu_ps(output, _mm256_fmadd_ps(low, scale, minimum));
  _mm256_storeu_ps(output + 8, _mm256_fmadd_ps(high, scale, minimum));
}

void StoreNibbles(const std::byte* nibbles, int offset, float scale,
                  float minimum, float* output) {
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i zero = _mm_set1_epi8(static_cast<char>(offset));
  const __m128i packed = Load16(nibbles);
  const __m128i low = _mm_and_si128(packed, mask);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
  const __m256 scales = _mm256_set1_ps(scale);
  const __m256 minimums = _mm256_set1_ps(minimum);
  Store16(_mm_sub_epi8(low, zero), scales, minimums, output);
  Store16(_mm_sub_epi8(high, zero), scales, minimums, output + 16);
}

void DequantizeQ4_0(const std::byte* blocks, int64_t count, float* output) {
  for (int64_t i = 0; i < count; i += 32, blocks += 18) {
    StoreNibbles(blocks + 2, 8, LoadHalf(blocks), 0, output + i);
  }
}

void DequantizeQ4_1(const std::byte* blocks, int64_t count, float* output) {
  for (int64_t i = 0; i < count; i += 32, blocks += 20) {
    StoreNibbles(blocks + 4, 0, LoadHalf(blocks), LoadHalf(blocks + 2),
                 output + i);
  }
}

void DequantizeQ8_0(const std::byte* blocks, int64_t count, float* output) {
  // Minus zero leaves a product's sign of zero alone.
  const __m256 none = _mm256_set1_ps(-0.0f);
  for (int64_t i = 0; i < count; i += 32, blocks += 34) {
    const __m256 scale = _mm256_set1_ps(LoadHalf(blocks));
    Store16(Load16(blocks + 2), scale, none, output + i);
    Store16(Load16(blocks + 18), scale, none, output + i + 16);
  }
}

void DequantizeF16(const std::byte* halves, int64_t count, float* output) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(output + i, _mm256_cvtph_ps(Load16(halves + 2 * i)));
  }
  for (; i < count; ++i) {
    output[i] = LoadHalf(halves + 2 * i);
  }
}

void DequantizeBF16(const std::byte* values, int64_t count, float* output) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i wide = _mm256_cvtepu16_epi32(Load16(values + 2 * i));
    _mm256_storeu_ps(output + i,
                     _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
  }
  Dequantize(WeightType::kBF16, values + 2 * i, count - i, output + i);
}

}  // namespace

DequantizeFloatFunction SelectDequantizeAvx2(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
      return DequantizeQ4_0;
    case WeightType::kQ4_1:
      return DequantizeQ4_1;
    case WeightType::kQ8_0:
      return DequantizeQ8_0;
    case WeightType::kF16:
      return DequantizeF16;
    case WeightType::kBF16:
      return DequantizeBF16;
    default:
      return nullptr;
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
