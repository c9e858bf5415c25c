// Quantised weights to bfloat16 with AVX512-BF16, a block of 32 at a time: the
// input of the GEMM.  Denormals become zero, as that GEMM treats them.

#include <cstring>

#include <immintrin.h>

#include "gpu/base/bfloat16.h"
#include "gpu/cpu/dequantize.h"
#include "gpu/cpu/dequantize_kernels.h"
#include "hwy/base.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 intrinsics start from undefined registers (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

HWY_PUSH_ATTRIBUTES(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace winnow {
namespace {

__m512 LoadHalf(const std::byte* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof(half));
  return _mm512_set1_ps(_cvtsh_ss(half));
}

__m128i Load16(const std::byte* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

void Store32(__m512 low, __m512 high, uint16_t* output) {
  const __m512bh rounded = _mm512_cvtne2ps_pbh(high, low);
  std::memcpy(output, &rounded, sizeof(rounded));
}

// Thirty-two signed bytes, each scale * byte + minimum.
void StoreBytes(__m128i low, __m128i high, __m512 scale, __m512 minimum,
                uint16_t* output) {
  const __m512 first = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(low));
  const __m512 second = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high));
  Store32(_mm512_fmadd_ps(first, scale, minimum),
          _mm512_fmadd_ps(second, scale, minimum), output);
}

template <int kOffset>
void StoreNibbles(const std::byte* nibbles, __m512 scale, __m512 minimum,
                  uint16_t* output) {
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i offset = _mm_set1_epi8(kOffset);
  const __m128i packed = Load16(nibbles);
  const __m128i low = _mm_and_si128(packed, mask);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
  StoreBytes(_mm_sub_epi8(low, offset), _mm_sub_epi8(high, offset), scale,
             minimum, output);
}

void DequantizeQ4_0(const std::byte* blocks, int64_t count, uint16_t* output) {
  for (int64_t i = 0; i < count; i += 32, blocks += 18) {
    StoreNibbles<8>(blocks + 2, LoadHalf(blocks), _mm512_setzero_ps(),
                    output + i);
  }
}

void DequantizeQ4_1(const std::byte* blocks, int64_t count, uint16_t* output) {
  for (int64_t i = 0; i < count; i += 32, blocks += 20) {
    StoreNibbles<0>(blocks + 4, LoadHalf(blocks), LoadHalf(blocks + 2),
                    output + i);
  }
}

void DequantizeQ8_0(const std::byte* blocks, int64_t count, uint16_t* output) {
  for (int64_t i = 0; i < count; i += 32, blocks += 34) {
    StoreBytes(Load16(blocks + 2), Load16(blocks + 18), LoadHalf(blocks),
               _mm512_setzero_ps(), output + i);
  }
}

void CopyBF16(const std::byte* values, int64_t count, uint16_t* output) {
  std::memcpy(output, values, static_cast<size_t>(count) * sizeof(*output));
}

}  // namespace

void RoundToBfloat16(const float* input, int64_t count, uint16_t* output) {
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    Store32(_mm512_loadu_ps(input + i), _mm512_loadu_ps(input + i + 16),
            output + i);
  }
  for (; i < count; ++i) {
    output[i] = ToBfloat16(input[i]);
  }
}

DequantizeBfloat16Function SelectDequantizeAvx512Bf16(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
      return DequantizeQ4_0;
    case WeightType::kQ4_1:
      return DequantizeQ4_1;
    case WeightType::kQ8_0:
      return DequantizeQ8_0;
    case WeightType::kBF16:
      return CopyBF16;
    default:
      return nullptr;
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
