// Attention with AVX512_BF16 for many queries: one query vector a SIMD lane.
//
// Logits are a matrix [key][lane].  A pair of neighbouring key dimensions is
// broadcast against the same pair of 16 queries; then a pair of neighbouring
// tokens of one value dimension against the same pair of 16 probabilities.
// Both pairs lie side by side in a tile, so nothing is transposed, and softmax
// needs no horizontal operation.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/base/bfloat16.h"
#include "gpu/cpu/attention_bf16.h"

namespace winnow {
namespace {

constexpr int kWidth = 16;
constexpr int kPairs = kBlockTokens / 2;

// Scratch of one call with kGroups groups of kWidth lanes.
template <int kGroups>
struct Lanes {
  static constexpr int kStride = kGroups * kWidth;
  // Keys, or dimensions, whose accumulators stay in registers together.
  static constexpr int kRows = kGroups == 1 ? 16 : 8;

  uint32_t* query;          // [head_dim / 2, kStride] pairs
  float* output;            // [head_dim, kStride]
  float* logits;            // [kBlockTokens, kStride]
  uint32_t* probabilities;  // [kPairs, kStride] pairs
  float* max;               // [kStride]
  float* sum;               // [kStride]
  float* rescale;           // [kStride]
  int32_t* visible;         // [kStride]
};

template <int kGroups>
Lanes<kGroups> Carve(std::byte* scratch, int head_dim) {
  constexpr size_t kStride = Lanes<kGroups>::kStride;
  const auto take = [&scratch](size_t words) {
    std::byte* taken = scratch;
    scratch += words * sizeof(uint32_t);
    return taken;
  };
  const auto dims = static_cast<size_t>(head_dim);
  return {
      .query = reinterpret_cast<uint32_t*>(take(dims / 2 * kStride)),
      .output = reinterpret_cast<float*>(take(dims * kStride)),
      .logits = reinterpret_cast<float*>(take(kBlockTokens * kStride)),
      .probabilities = reinterpret_cast<uint32_t*>(take(kPairs * kStride)),
      .max = reinterpret_cast<float*>(take(kStride)),
      .sum = reinterpret_cast<float*>(take(kStride)),
      .rescale = reinterpret_cast<float*>(take(kStride)),
      .visible = reinterpret_cast<int32_t*>(take(kStride)),
  };
}

// Spreads the queries over the lanes; padding lanes are zero and see nothing.
template <int kGroups>
void LoadLanes(const AttentionSpan& span, const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const int head_dim = span.shape.head_dim;
  for (int lane = 0; lane < kStride; ++lane) {
    const bool real = lane < span.num_lanes;
    for (int dim = 0; dim < head_dim; dim += 2) {
      const float* query = real ? span.query[lane] + dim : nullptr;
      lanes.query[dim / 2 * kStride + lane] =
          real ? ToBfloat16(query[0]) | uint32_t{ToBfloat16(query[1])} << 16
               : 0;
    }
    lanes.visible[lane] = real ? span.visible[lane] : 0;
    lanes.max[lane] = kNoMax;
    lanes.sum[lane] = 0;
  }
  std::fill_n(lanes.output, head_dim * kStride, 0.0f);
}

template <int kGroups>
void StorePartial(const AttentionSpan& span, const Lanes<kGroups>& lanes,
                  const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  for (int lane = 0; lane < span.num_lanes; ++lane) {
    partial.max[lane] = lanes.max[lane];
    partial.sum[lane] = lanes.sum[lane];
    for (int dim = 0; dim < head_dim; ++dim) {
      partial.output[lane * head_dim + dim] =
          lanes.output[dim * Lanes<kGroups>::kStride + lane];
    }
  }
}

// logits[k, lane] = key[k] . query[lane], for `num_keys` rounded up to kRows.
template <int kGroups>
WINNOW_AVX512_BF16 void Logits(const uint16_t* keys, int num_keys, int head_dim,
                               const std::byte* next,
                               const Lanes<kGroups>& lanes) {
  constexpr int kRows = Lanes<kGroups>::kRows;
  constexpr int kStride = Lanes<kGroups>::kStride;
  const size_t block_bytes = size_t{kRows} * head_dim * sizeof(uint16_t);
  for (int k = 0; k < num_keys; k += kRows) {
    Prefetch(next + k / kRows * block_bytes, block_bytes);
    __m512 sums[kRows][kGroups];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        sums[r][g] = _mm512_setzero_ps();
      }
    }
    const uint16_t* key = keys + k * head_dim;
    const uint32_t* query = lanes.query;
    for (int dim = 0; dim < head_dim; dim += 2) {
      __m512i q[kGroups];
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        q[g] = _mm512_load_si512(query + g * kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = BroadcastPair(key + r * head_dim + dim);
#pragma GCC unroll 3
        for (int g = 0; g < kGroups; ++g) {
          sums[r][g] = DotPairs(sums[r][g], q[g], pair);
        }
      }
      query += kStride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        _mm512_store_ps(lanes.logits + (k + r) * kStride + g * kWidth,
                        sums[r][g]);
      }
    }
  }
}

// Masks logits, which are not scaled yet, of entries that a lane does not see;
// `first` is the index of the tile's first entry.
template <int kGroups>
WINNOW_AVX512_BF16 void MaskLogits(int first, int num_keys, float scale_log2,
                                   const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 masked = _mm512_set1_ps(kMaskedLogit / scale_log2);
  for (int lane = 0; lane < kStride; lane += kWidth) {
    const __m512i visible = _mm512_load_si512(lanes.visible + lane);
    for (int k = 0; k < num_keys; ++k) {
      const __mmask16 unseen =
          _mm512_cmple_epi32_mask(visible, _mm512_set1_epi32(first + k));
      _mm512_mask_store_ps(lanes.logits + k * kStride + lane, unseen, masked);
    }
  }
}

// Turns the logits of one tile into pairs of probabilities relative to the new
// maximum.  A last odd entry is paired with zero.
template <int kGroups>
WINNOW_AVX512_BF16 void OnlineSoftmax(int num_keys, float scale_log2,
                                      const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 scale = _mm512_set1_ps(scale_log2);
  for (int lane = 0; lane < kStride; lane += kWidth) {
    const float* logits = lanes.logits + lane;
    __m512 max = _mm512_set1_ps(kNoMax);
    for (int k = 0; k < num_keys; ++k) {
      max = _mm512_max_ps(
          max, _mm512_mul_ps(scale, _mm512_load_ps(logits + k * kStride)));
    }
    const __m512 old_max = _mm512_load_ps(lanes.max + lane);
    max = _mm512_max_ps(max, old_max);
    const __m512 rescale = Exp2(_mm512_sub_ps(old_max, max));
    __m512 even_sum = _mm512_mul_ps(rescale, _mm512_load_ps(lanes.sum + lane));
    __m512 odd_sum = _mm512_setzero_ps();
    for (int k = 0; k < num_keys; k += 2) {
      const __m512 even = Exp2(
          _mm512_fmsub_ps(scale, _mm512_load_ps(logits + k * kStride), max));
      const __m512 odd =
          k + 1 < num_keys
              ? Exp2(_mm512_fmsub_ps(
                    scale, _mm512_load_ps(logits + (k + 1) * kStride), max))
              : _mm512_setzero_ps();
      const __m512i pairs = RoundInterleaved(even, odd);
      _mm512_store_si512(lanes.probabilities + k / 2 * kStride + lane, pairs);
      // The sum is that of the rounded ones: weights that add up to one.
      even_sum = _mm512_add_ps(
          even_sum, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
      odd_sum = _mm512_add_ps(odd_sum, _mm512_castsi512_ps(_mm512_and_si512(
                                           pairs, _mm512_set1_epi32(-65536))));
    }
    _mm512_store_ps(lanes.max + lane, max);
    _mm512_store_ps(lanes.sum + lane, _mm512_add_ps(even_sum, odd_sum));
    _mm512_store_ps(lanes.rescale + lane, rescale);
  }
}

// output[dim, lane] = output[dim, lane] * rescale[lane]
//                   + sum_k value[dim][k] * probability[k, lane].
template <int kGroups>
WINNOW_AVX512_BF16 void AddValues(const uint16_t* values, int num_keys,
                                  int head_dim, const std::byte* next,
                                  const Lanes<kGroups>& lanes) {
  constexpr int kRows = Lanes<kGroups>::kRows;
  constexpr int kStride = Lanes<kGroups>::kStride;
  constexpr size_t kGroupBytes = kValueGroupTokens * sizeof(uint16_t);
  for (int dim = 0; dim < head_dim; dim += kRows) {
    Prefetch(next + dim * kGroupBytes, kRows * kGroupBytes);
    Prefetch(next + (head_dim + dim) * kGroupBytes, kRows * kGroupBytes);
    __m512 sums[kRows][kGroups];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        sums[r][g] = _mm512_mul_ps(
            _mm512_load_ps(lanes.output + (dim + r) * kStride + g * kWidth),
            _mm512_load_ps(lanes.rescale + g * kWidth));
      }
    }
    const uint32_t* probabilities = lanes.probabilities;
    for (int k = 0; k < num_keys; k += 2) {
      const uint16_t* value =
          values +
          ((k / kValueGroupTokens) * head_dim + dim) * kValueGroupTokens +
          k % kValueGroupTokens;
      __m512i p[kGroups];
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        p[g] = _mm512_load_si512(probabilities + g * kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = BroadcastPair(value + r * kValueGroupTokens);
#pragma GCC unroll 3
        for (int g = 0; g < kGroups; ++g) {
          sums[r][g] = DotPairs(sums[r][g], p[g], pair);
        }
      }
      probabilities += kStride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int g = 0; g < kGroups; ++g) {
        _mm512_store_ps(lanes.output + (dim + r) * kStride + g * kWidth,
                        sums[r][g]);
      }
    }
  }
}

// The values of a tile with an odd number of entries: the pair of the last one
// reaches a slot that nobody may look at, so the half block is copied and that
// slot is cleared.
const uint16_t* ClearSlotAfter(const uint16_t* values, int count, int head_dim,
                               uint16_t* copy) {
  const int half = count / kValueGroupTokens;
  std::copy_n(values, (half + 1) * head_dim * kValueGroupTokens, copy);
  for (int dim = 0; dim < head_dim; ++dim) {
    copy[(half * head_dim + dim) * kValueGroupTokens +
         count % kValueGroupTokens] = 0;
  }
  return copy;
}

template <int kGroups>
void Attend(const AttentionSpan& span, std::byte* scratch,
            const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const Lanes<kGroups> lanes = Carve<kGroups>(scratch, head_dim);
  LoadLanes(span, lanes);
  const auto [least, most] =
      std::minmax_element(span.visible, span.visible + span.num_lanes);
  alignas(64) uint16_t cleared[kBlockTokens * 256];
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < *most; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const auto* next = static_cast<const std::byte*>(
        span.tiles[std::min(i + 1, span.tiles.size() - 1)].tile);
    const int count = std::min(ref.count, *most - first);
    const auto* keys = static_cast<const uint16_t*>(ref.tile);
    const uint16_t* values = keys + kBlockTokens * head_dim;
    if (count % 2 != 0) {
      values = ClearSlotAfter(values, count, head_dim, cleared);
    }
    Logits(keys, count, head_dim, next, lanes);
    if (first + count > *least) {
      MaskLogits(first, count, span.scale_log2, lanes);
    }
    OnlineSoftmax(count, span.scale_log2, lanes);
    AddValues(values, count, head_dim, next + span.shape.KeyBytes(), lanes);
    first += ref.count;
  }
  StorePartial(span, lanes, partial);
}

}  // namespace

void Bfloat16AttentionManyLanes(const AttentionSpan& span, std::byte* scratch,
                                const AttentionPartial& partial) {
  if (span.num_lanes <= kWidth) {
    Attend<1>(span, scratch, partial);
  } else if (span.num_lanes <= 2 * kWidth) {
    Attend<2>(span, scratch, partial);
  } else {
    Attend<3>(span, scratch, partial);
  }
}

}  // namespace winnow
