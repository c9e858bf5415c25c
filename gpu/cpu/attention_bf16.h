#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gpu/cpu/attention_kernel.h"
#include "gpu/cpu/avx512_bf16.h"

namespace winnow {

// A masked logit, after scaling: further down than kNoMax, so that its
// exponential is zero even where no entry has been seen, and finite, so that no
// clamp is needed.
inline constexpr float kMaskedLogit = 2 * kNoMax;

// 2^x, also for x as low as kMaskedLogit.
WINNOW_AVX512_BF16_INLINE __m512 Exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
  const __m512 part = _mm512_sub_ps(x, whole);
  __m512 sum = _mm512_set1_ps(kExp2[4]);
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(kExp2[3]));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(kExp2[2]));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(kExp2[1]));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(kExp2[0]));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(sum, whole);
}

// sum + a.b over pairs of bfloat16.
WINNOW_AVX512_BF16_INLINE __m512 DotPairs(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a),
                          reinterpret_cast<__m512bh>(b));
}

// Two neighbouring bfloat16 in every lane.
WINNOW_AVX512_BF16_INLINE __m512i BroadcastPair(const uint16_t* pair) {
  int word;
  std::memcpy(&word, pair, sizeof(word));
  return _mm512_set1_epi32(word);
}

// The values of a KV tile, by halves of 32 tokens.
struct ValueHalves {
  const uint16_t* at[kBlockTokens / kValueGroupTokens];
};

// Those of `count` entries, for a reader of `unit` of them at a time.  Slots
// beyond them, which nobody may look at, share a unit with the last ones: then
// their half is copied to `copy`, [head_dim, kValueGroupTokens], without them.
WINNOW_AVX512_BF16 inline ValueHalves HalvesOf(const uint16_t* values,
                                               int count, int unit,
                                               int head_dim, uint16_t* copy) {
  const int half_size = head_dim * kValueGroupTokens;
  ValueHalves result = {{values, values + half_size}};
  if (count % unit != 0) {
    const int half = count / kValueGroupTokens;
    const __mmask32 valid = (uint32_t{1} << count % kValueGroupTokens) - 1;
    for (int i = 0; i < half_size; i += kValueGroupTokens) {
      _mm512_store_si512(copy + i,
                         _mm512_maskz_loadu_epi16(valid, result.at[half] + i));
    }
    result.at[half] = copy;
  }
  return result;
}

// What is read after tile `index`, the last one where `last`.
inline const std::byte* NextTile(const AttentionSpan& span, size_t index,
                                 bool last) {
  const void* next = nullptr;
  if (!last) {
    next = span.tiles[index + 1].tile;
  } else if (span.next_tile != nullptr) {
    next = (*span.next_tile)();
  }
  return static_cast<const std::byte*>(
      next != nullptr ? next : span.tiles[index].tile);
}

// Many lanes, a query vector each: groups of 16 share every load of a key.
void Bfloat16AttentionManyLanes(const AttentionSpan& span, std::byte* scratch,
                                const AttentionPartial& partial);

// Up to kFewLanes lanes, as in decode: a vector holds four queries, and a load
// of a tile serves all of them; at the speed of memory.
inline constexpr int kFewLanes = 16;
void Bfloat16AttentionFewLanes(const AttentionSpan& span, std::byte* scratch,
                               const AttentionPartial& partial);

}  // namespace winnow
