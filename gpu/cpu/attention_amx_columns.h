#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/cpu/attention_bf16.h"

// What the AMX kernel does between products of tiles: a lane, a query, is a
// column of everything, sixteen make a group, and softmax is that of vectors.
namespace winnow::columns {

inline constexpr int kWidth = 16;  // lanes of a group: a vector, and a tile

// Scratch of one call with kGroups groups of lanes.
template <int kGroups>
struct Lanes {
  static constexpr int kStride = kGroups * kWidth;
  static constexpr size_t kRowBytes = kStride * sizeof(float);

  uint32_t* query;          // [head_dim / 2, kStride] pairs
  float* output;            // [head_dim, kStride]
  float* logits;            // [kBlockTokens, kStride]
  uint32_t* probabilities;  // [kBlockTokens / 2, kStride] pairs
  float* max;               // [kStride]
  float* sum;               // [kStride]
  int32_t* visible;         // [kStride]
};

template <int kGroups>
Lanes<kGroups> Carve(std::byte* scratch, int head_dim) {
  constexpr size_t kStride = Lanes<kGroups>::kStride;
  const auto take = [&scratch](size_t rows) {
    std::byte* taken = scratch;
    scratch += rows * kStride * sizeof(uint32_t);
    return taken;
  };
  const auto dims = static_cast<size_t>(head_dim);
  return {
      .query = reinterpret_cast<uint32_t*>(take(dims / 2)),
      .output = reinterpret_cast<float*>(take(dims)),
      .logits = reinterpret_cast<float*>(take(kBlockTokens)),
      .probabilities = reinterpret_cast<uint32_t*>(take(kBlockTokens / 2)),
      .max = reinterpret_cast<float*>(take(1)),
      .sum = reinterpret_cast<float*>(take(1)),
      .visible = reinterpret_cast<int32_t*>(take(1)),
  };
}

// Element offsets of a column's rows.
template <int kGroups>
WINNOW_AVX512_BF16_INLINE __m512i ColumnOffsets() {
  return _mm512_mullo_epi32(
      _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
      _mm512_set1_epi32(Lanes<kGroups>::kStride));
}

// Spreads the queries over the lanes; padding lanes are zero and see nothing.
template <int kGroups>
WINNOW_AVX512_BF16 void LoadLanes(const AttentionSpan& span,
                                  const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const int head_dim = span.shape.head_dim;
  const __m512i column = ColumnOffsets<kGroups>();
  for (int lane = 0; lane < kStride; ++lane) {
    const bool real = lane < span.num_lanes;
    for (int dim = 0; dim < head_dim; dim += 2 * kWidth) {
      const __m512i pairs =
          real ? RoundPairs(_mm512_loadu_ps(span.query[lane] + dim),
                            _mm512_loadu_ps(span.query[lane] + dim + kWidth))
               : _mm512_setzero_si512();
      _mm512_i32scatter_epi32(lanes.query + dim / 2 * kStride + lane, column,
                              pairs, sizeof(uint32_t));
    }
    lanes.visible[lane] = real ? span.visible[lane] : 0;
    lanes.max[lane] = kNoMax;
    lanes.sum[lane] = 0;
  }
  std::fill_n(lanes.output, head_dim * kStride, 0.0f);
}

template <int kGroups>
WINNOW_AVX512_BF16 void StorePartial(const AttentionSpan& span,
                                     const Lanes<kGroups>& lanes,
                                     const AttentionPartial& partial) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const int head_dim = span.shape.head_dim;
  const __m512i column = ColumnOffsets<kGroups>();
  for (int lane = 0; lane < span.num_lanes; ++lane) {
    partial.max[lane] = lanes.max[lane];
    partial.sum[lane] = lanes.sum[lane];
    for (int dim = 0; dim < head_dim; dim += kWidth) {
      _mm512_storeu_ps(
          partial.output + lane * head_dim + dim,
          _mm512_i32gather_ps(column, lanes.output + dim * kStride + lane,
                              sizeof(float)));
    }
  }
}

// A lane's logits are exponentiated relative to the largest one seen, but that
// is only followed once it has grown by a factor of 2^kMaxGrowth: the weights
// of a softmax are the same, float32 and bfloat16 have the room, and the sums
// need not be rescaled at every tile (as FlashAttention-4 does).
inline constexpr float kMaxGrowth = 8;

// 2^x for x below 2^kMaxGrowth, to 1.6e-4; exact for whole x.  A quarter of
// what rounding the result to bfloat16 costs, at half the instructions of Exp2.
WINNOW_AVX512_BF16_INLINE __m512 CoarseExp2(__m512 x) {
  const __m512 part = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 sum = _mm512_set1_ps(0.07944f);
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.22449f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.69607f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(sum, x);  // takes the whole part of x
}

// Masks logits, which are not scaled yet, of entries that a lane does not see;
// `first` is the index of the tile's first entry.
template <int kGroups>
WINNOW_AVX512_BF16 void MaskLogits(int first, int num_keys, float scale_log2,
                                   int group, const Lanes<kGroups>& lanes) {
  const __m512 masked = _mm512_set1_ps(kMaskedLogit / scale_log2);
  const int lane = group * kWidth;
  const __m512i visible = _mm512_load_si512(lanes.visible + lane);
  for (int k = 0; k < num_keys; ++k) {
    const __mmask16 unseen =
        _mm512_cmple_epi32_mask(visible, _mm512_set1_epi32(first + k));
    _mm512_mask_store_ps(lanes.logits + k * Lanes<kGroups>::kStride + lane,
                         unseen, masked);
  }
}

template <int kGroups>
WINNOW_AVX512_BF16_INLINE __m512 LargestLogit(const float* logits,
                                              int num_keys) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 first = _mm512_load_ps(logits);
  __m512 max[4] = {first, first, first, first};
  int k = 0;
  for (; k + 4 <= num_keys; k += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      max[i] =
          _mm512_max_ps(max[i], _mm512_load_ps(logits + (k + i) * kStride));
    }
  }
  for (; k < num_keys; ++k) {
    max[0] = _mm512_max_ps(max[0], _mm512_load_ps(logits + k * kStride));
  }
  return _mm512_max_ps(_mm512_max_ps(max[0], max[1]),
                       _mm512_max_ps(max[2], max[3]));
}

// Multiplies sums and outputs of a group that were relative to a maximum that
// is left behind.
template <int kGroups>
WINNOW_AVX512_BF16 void Rescale(__m512 factor, int head_dim, int group,
                                const Lanes<kGroups>& lanes) {
  float* sum = lanes.sum + group * kWidth;
  _mm512_store_ps(sum, _mm512_mul_ps(factor, _mm512_load_ps(sum)));
  for (int dim = 0; dim < head_dim; ++dim) {
    float* output =
        lanes.output + dim * Lanes<kGroups>::kStride + group * kWidth;
    _mm512_store_ps(output, _mm512_mul_ps(factor, _mm512_load_ps(output)));
  }
}

// Sums of probabilities as they are rounded: weights that add up to one.
struct Sums {
  __m512 even;
  __m512 odd;
};

// Stores the probabilities of two tokens and adds them to `sums`.
WINNOW_AVX512_BF16_INLINE void StorePair(__m512 even, __m512 odd,
                                         uint32_t* probabilities, Sums& sums) {
  const __m512i pairs = RoundInterleaved(even, odd);
  _mm512_store_si512(probabilities, pairs);
  sums.even = _mm512_add_ps(sums.even,
                            _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
  sums.odd = _mm512_add_ps(sums.odd, _mm512_castsi512_ps(_mm512_and_si512(
                                         pairs, _mm512_set1_epi32(-65536))));
}

// 2^(scale * logits - max) of a token.
WINNOW_AVX512_BF16_INLINE __m512 Probability(__m512 scale, const float* logits,
                                             __m512 max) {
  return CoarseExp2(_mm512_fmsub_ps(scale, _mm512_load_ps(logits), max));
}

// Turns the logits of one tile into pairs of probabilities, zero beyond
// `num_keys`, relative to the lane's maximum, which is followed where it must.
template <int kGroups>
WINNOW_AVX512_BF16 void OnlineSoftmax(int num_keys, float scale_log2,
                                      int head_dim, int group,
                                      const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 scale = _mm512_set1_ps(scale_log2);
  const int lane = group * kWidth;
  const float* logits = lanes.logits + lane;
  const __m512 old_max = _mm512_load_ps(lanes.max + lane);
  const __m512 new_max =
      _mm512_mul_ps(scale, LargestLogit<kGroups>(logits, num_keys));
  const __mmask16 grown = _mm512_cmp_ps_mask(
      new_max, _mm512_add_ps(old_max, _mm512_set1_ps(kMaxGrowth)), _CMP_GT_OQ);
  const __m512 max = _mm512_mask_mov_ps(old_max, grown, new_max);
  if (grown != 0) {
    Rescale(Exp2(_mm512_sub_ps(old_max, max)), head_dim, group, lanes);
    _mm512_store_ps(lanes.max + lane, max);
  }
  Sums sums = {.even = _mm512_load_ps(lanes.sum + lane),
               .odd = _mm512_setzero_ps()};
  uint32_t* probabilities = lanes.probabilities + lane;
  int k = 0;
  for (; k + 2 <= num_keys; k += 2) {
    StorePair(Probability(scale, logits + k * kStride, max),
              Probability(scale, logits + (k + 1) * kStride, max),
              probabilities + k / 2 * kStride, sums);
  }
  if (k < num_keys) {
    StorePair(Probability(scale, logits + k * kStride, max),
              _mm512_setzero_ps(), probabilities + k / 2 * kStride, sums);
    k += 2;
  }
  for (; k < kBlockTokens; k += 2) {
    _mm512_store_si512(probabilities + k / 2 * kStride, _mm512_setzero_si512());
  }
  _mm512_store_ps(lanes.sum + lane, _mm512_add_ps(sums.even, sums.odd));
}

}  // namespace winnow::columns
