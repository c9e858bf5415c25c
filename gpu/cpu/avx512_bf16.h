#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the deliberately undefined operands of its own intrinsics for
// mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

// What the AVX512_BF16 kernels share.  Everything here is inlined into
// functions with this attribute and called behind a check of the CPU only.
#define WINNOW_AVX512_BF16 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define WINNOW_AVX512_BF16_INLINE \
  WINNOW_AVX512_BF16 __attribute__((always_inline)) inline

namespace winnow {

// 32 floats to bfloat16, `low` first.
WINNOW_AVX512_BF16_INLINE __m512i RoundPairs(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

// 16 pairs of bfloat16, one from each of two vectors.
WINNOW_AVX512_BF16_INLINE __m512i RoundInterleaved(__m512 even, __m512 odd) {
  const __m512i interleave = _mm512_set_epi16(
      31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
      6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(interleave, RoundPairs(even, odd));
}

// Asks for memory that will be read soon.
inline void Prefetch(const std::byte* address, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(address + i), _MM_HINT_T0);
  }
}

}  // namespace winnow
