// Attention with AVX512_BF16 for few queries, as in decode.
//
// A key is a run of dimensions and so is a query: 32 products an instruction,
// summed over the lanes 16 keys at a time.  A value group is a run of 32
// tokens for each dimension and so are the probabilities; those products stay
// spread over 16 lanes until the last tile.  Every tile is walked front to
// back while the next one is fetched.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/base/bfloat16.h"
#include "gpu/cpu/attention_bf16.h"

namespace winnow {
namespace {

constexpr int kWidth = 16;      // floats of a vector
constexpr int kPairWidth = 32;  // bfloat16 of a vector
constexpr int kMaxChunks = 256 / kPairWidth;
constexpr int kLaneBlock = 4;  // lanes whose vectors stay in registers
constexpr int kVectors = kBlockTokens / kWidth;

struct Lane {
  alignas(64) uint16_t query[kMaxChunks * kPairWidth];  // zero-padded
  alignas(64) float logits[kBlockTokens];
  alignas(64) uint16_t probabilities[kBlockTokens];
  alignas(64) float sum[kWidth];  // spread
  alignas(64) float rescale[kWidth];
  float max;
};

// Vector i of the result is the sum over the lanes of sums[i].
WINNOW_AVX512_BF16_INLINE __m512 SumAcross(const __m512 (&sums)[kWidth]) {
  __m512 twos[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    twos[i] = _mm512_add_ps(_mm512_unpacklo_ps(sums[2 * i], sums[2 * i + 1]),
                            _mm512_unpackhi_ps(sums[2 * i], sums[2 * i + 1]));
  }
  __m512 fours[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(twos[2 * i]);
    const __m512d b = _mm512_castps_pd(twos[2 * i + 1]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  __m512 eights[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512 a = fours[2 * i];
    const __m512 b = fours[2 * i + 1];
    eights[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88),
                              _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  return _mm512_add_ps(_mm512_shuffle_f32x4(eights[0], eights[1], 0x88),
                       _mm512_shuffle_f32x4(eights[0], eights[1], 0xdd));
}

// Logits of kWidth keys for one lane.
WINNOW_AVX512_BF16_INLINE __m512 KeyDots(const uint16_t* keys, int head_dim,
                                         const uint16_t* query) {
  __m512 sums[kWidth];
#pragma GCC unroll 16
  for (int k = 0; k < kWidth; ++k) {
    sums[k] = _mm512_setzero_ps();
  }
  int dim = 0;
  for (; dim + kPairWidth <= head_dim; dim += kPairWidth) {
    const __m512i q = _mm512_load_si512(query + dim);
#pragma GCC unroll 16
    for (int k = 0; k < kWidth; ++k) {
      sums[k] =
          DotPairs(sums[k], q, _mm512_loadu_si512(keys + k * head_dim + dim));
    }
  }
  if (dim < head_dim) {  // 16 dimensions are left
    const __m512i q = _mm512_load_si512(query + dim);
#pragma GCC unroll 16
    for (int k = 0; k < kWidth; ++k) {
      sums[k] =
          DotPairs(sums[k], q,
                   _mm512_maskz_loadu_epi16(0xffff, keys + k * head_dim + dim));
    }
  }
  return SumAcross(sums);
}

// Bits [0, count) of a mask of `width` bits.
constexpr uint32_t LowBits(int count, int width) {
  return count <= 0 ? 0 : ~uint32_t{0} >> (32 - std::min(count, width));
}

// Logits to probabilities relative to the new maximum; the first `visible` of
// the tile's entries count.
WINNOW_AVX512_BF16 void OnlineSoftmax(int visible, float scale_log2,
                                      Lane& lane) {
  __m512 x[kVectors];
  __m512 max = _mm512_set1_ps(lane.max);
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    const auto seen =
        static_cast<__mmask16>(LowBits(visible - i * kWidth, kWidth));
    x[i] = _mm512_mask_mul_ps(_mm512_set1_ps(kMaskedLogit), seen,
                              _mm512_set1_ps(scale_log2),
                              _mm512_load_ps(lane.logits + i * kWidth));
    max = _mm512_max_ps(max, x[i]);
  }
  const float new_max = _mm512_reduce_max_ps(max);
  max = _mm512_set1_ps(new_max);
  const __m512 rescale = Exp2(_mm512_sub_ps(_mm512_set1_ps(lane.max), max));
  __m512 sum = _mm512_mul_ps(rescale, _mm512_load_ps(lane.sum));
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    x[i] = Exp2(_mm512_sub_ps(x[i], max));
    sum = _mm512_add_ps(sum, x[i]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; i += 2) {
    _mm512_store_si512(lane.probabilities + i * kWidth,
                       RoundPairs(x[i], x[i + 1]));
  }
  _mm512_store_ps(lane.sum, sum);
  _mm512_store_ps(lane.rescale, rescale);
  lane.max = new_max;
}

// output[lane][dim] = output * rescale + the products of 64 tokens, all spread
// over the vector's lanes.
template <int kLanes>
WINNOW_AVX512_BF16 void AddValues(const uint16_t* values, int count,
                                  int head_dim, const std::byte* next,
                                  const Lane* lanes, float* output) {
  const __mmask32 seen[2] = {LowBits(count, 32), LowBits(count - 32, 32)};
  __m512i p[kLanes][2];
  __m512 rescale[kLanes];
#pragma GCC unroll 4
  for (int l = 0; l < kLanes; ++l) {
    p[l][0] = _mm512_load_si512(lanes[l].probabilities);
    p[l][1] = _mm512_load_si512(lanes[l].probabilities + kPairWidth);
    rescale[l] = _mm512_load_ps(lanes[l].rescale);
  }
  const int half = head_dim * kPairWidth;
  for (int dim = 0; dim < head_dim; ++dim) {
    Prefetch(next + dim * 128, 128);
    const uint16_t* value = values + dim * kPairWidth;
    const __m512i v0 = _mm512_maskz_loadu_epi16(seen[0], value);
    const __m512i v1 = _mm512_maskz_loadu_epi16(seen[1], value + half);
#pragma GCC unroll 4
    for (int l = 0; l < kLanes; ++l) {
      float* sums = output + (l * head_dim + dim) * kWidth;
      __m512 sum = _mm512_mul_ps(rescale[l], _mm512_load_ps(sums));
      sum = DotPairs(sum, v0, p[l][0]);
      sum = DotPairs(sum, v1, p[l][1]);
      _mm512_store_ps(sums, sum);
    }
  }
}

void AddValuesOfLanes(const uint16_t* values, int count, int head_dim,
                      const std::byte* next, std::span<const Lane> lanes,
                      float* output) {
  switch (lanes.size()) {
    case 1:
      return AddValues<1>(values, count, head_dim, next, lanes.data(), output);
    case 2:
      return AddValues<2>(values, count, head_dim, next, lanes.data(), output);
    case 3:
      return AddValues<3>(values, count, head_dim, next, lanes.data(), output);
    default:
      return AddValues<4>(values, count, head_dim, next, lanes.data(), output);
  }
}

WINNOW_AVX512_BF16 void Logits(const uint16_t* keys, int count, int head_dim,
                               const std::byte* next, std::span<Lane> lanes) {
  const size_t block_bytes = size_t{kWidth} * head_dim * sizeof(uint16_t);
  for (int k = 0; k < kBlockTokens; k += kWidth) {
    Prefetch(next + k / kWidth * block_bytes, block_bytes);
    if (k >= count) {
      continue;
    }
    for (Lane& lane : lanes) {
      _mm512_store_ps(lane.logits + k,
                      KeyDots(keys + k * head_dim, head_dim, lane.query));
    }
  }
}

void LoadLanes(const AttentionSpan& span, std::span<Lane> lanes) {
  for (int l = 0; l < span.num_lanes; ++l) {
    std::ranges::fill(lanes[l].query, uint16_t{0});
    for (int dim = 0; dim < span.shape.head_dim; ++dim) {
      lanes[l].query[dim] = ToBfloat16(span.query[l][dim]);
    }
    std::ranges::fill(lanes[l].sum, 0.0f);
    std::ranges::fill(lanes[l].logits, 0.0f);
    lanes[l].max = kNoMax;
  }
}

WINNOW_AVX512_BF16 void StorePartial(const AttentionSpan& span,
                                     std::span<const Lane> lanes,
                                     const float* output,
                                     const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  for (int l = 0; l < span.num_lanes; ++l) {
    partial.max[l] = lanes[l].max;
    partial.sum[l] = _mm512_reduce_add_ps(_mm512_load_ps(lanes[l].sum));
    for (int dim = 0; dim < head_dim; dim += kWidth) {
      __m512 sums[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        sums[i] = _mm512_load_ps(output + (l * head_dim + dim + i) * kWidth);
      }
      _mm512_storeu_ps(partial.output + l * head_dim + dim, SumAcross(sums));
    }
  }
}

}  // namespace

void Bfloat16AttentionFewLanes(const AttentionSpan& span, std::byte* scratch,
                               const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const int num_lanes = span.num_lanes;
  Lane lane_array[kFewLanes];
  const std::span<Lane> lanes = std::span(lane_array).first(num_lanes);
  LoadLanes(span, lanes);
  auto* output = reinterpret_cast<float*>(scratch);  // [lane, dim, kWidth]
  std::fill_n(output, num_lanes * head_dim * kWidth, 0.0f);

  const int visible = *std::max_element(span.visible, span.visible + num_lanes);
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < visible; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const KvTileRef& next_ref =
        span.tiles[std::min(i + 1, span.tiles.size() - 1)];
    const auto* next = static_cast<const std::byte*>(next_ref.tile);
    const auto* keys = static_cast<const uint16_t*>(ref.tile);
    Logits(keys, ref.count, head_dim, next, lanes);
    for (int l = 0; l < num_lanes; ++l) {
      OnlineSoftmax(std::min(ref.count, span.visible[l] - first),
                    span.scale_log2, lanes[l]);
    }
    for (int l = 0; l < num_lanes; l += kLaneBlock) {
      AddValuesOfLanes(keys + kBlockTokens * head_dim, ref.count, head_dim,
                       next + span.shape.KeyBytes(),
                       lanes.subspan(l, std::min(kLaneBlock, num_lanes - l)),
                       output + l * head_dim * kWidth);
    }
    first += ref.count;
  }
  StorePartial(span, lanes, output, partial);
}

void Bfloat16Attention(const AttentionSpan& span, std::byte* scratch,
                       const AttentionPartial& partial) {
  if (span.num_lanes <= kFewLanes) {
    Bfloat16AttentionFewLanes(span, scratch, partial);
  } else {
    Bfloat16AttentionManyLanes(span, scratch, partial);
  }
}

}  // namespace winnow
