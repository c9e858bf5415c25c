// Attention with AVX512_BF16 for few queries, as in decode: four lanes a vector
// (attention_bf16_quads.h).  Each half of a tile is fetched while the one
// before it is worked on, at an even pace: the hardware's prefetcher does not
// follow reads of several keys at once.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/cpu/attention_bf16.h"
#include "gpu/cpu/attention_bf16_quads.h"

namespace winnow {
namespace quads {
namespace {

template <int kQuads>
Lanes Carve(std::byte* scratch, int head_dim) {
  const auto take = [&scratch](size_t vectors) {
    std::byte* taken = scratch;
    scratch += vectors * kQuads * sizeof(__m512);
    return taken;
  };
  const auto dims = static_cast<size_t>(head_dim);
  return {
      .query = reinterpret_cast<uint16_t*>(take(dims / kStep)),
      .output = reinterpret_cast<float*>(take(dims)),
      .logits = reinterpret_cast<float*>(take(kKeyVectors)),
      .probabilities = reinterpret_cast<uint16_t*>(take(kValueSteps)),
      .max = reinterpret_cast<float*>(take(1)),
      .sum = reinterpret_cast<float*>(take(1)),
      .rescale = reinterpret_cast<float*>(take(1)),
      .visible = reinterpret_cast<int32_t*>(take(1)),
  };
}

// Lanes beyond the last are zero.
template <int kQuads>
WINNOW_AVX512_BF16 void LoadLanes(const AttentionSpan& span,
                                  const Lanes& lanes) {
  const int head_dim = span.shape.head_dim;
  for (int lane = 0; lane < kQuads * kQuad; ++lane) {
    const bool real = lane < span.num_lanes;
    uint16_t* query = lanes.query + lane * kStep;
    for (int dim = 0; dim < head_dim; dim += kStep) {
      const __m256 floats =
          real ? _mm256_loadu_ps(span.query[lane] + dim) : _mm256_setzero_ps();
      _mm_store_si128(reinterpret_cast<__m128i*>(query),
                      reinterpret_cast<__m128i>(_mm256_cvtneps_pbh(floats)));
      query += kQuads * 2 * kWidth;
    }
    std::fill_n(lanes.visible + lane * kQuad, kQuad,
                real ? span.visible[lane] : 0);
  }
  std::fill_n(lanes.max, kQuads * kWidth, kNoMax);
  std::fill_n(lanes.sum, kQuads * kWidth, 0.0f);
  std::fill_n(lanes.output, head_dim * kQuads * kWidth, 0.0f);
}

// Logits of a quad to probabilities relative to the new maximum.  Entries
// [first, end) are the tile's.
template <int kQuads, bool kMasked>
WINNOW_AVX512_BF16 void OnlineSoftmax(int first, int end, float scale_log2,
                                      int quad, const Lanes& lanes) {
  const int at = quad * kWidth;
  const __m512 scale = _mm512_set1_ps(scale_log2);
  __m512 x[kKeyVectors];
  const __m512 old_max = _mm512_load_ps(lanes.max + at);
  __m512 max = old_max;
  [[maybe_unused]] __m512i key =
      _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_set4_epi32(3, 2, 1, 0));
  [[maybe_unused]] const __m512i visible = _mm512_min_epi32(
      _mm512_set1_epi32(end), _mm512_load_si512(lanes.visible + at));
#pragma GCC unroll 16
  for (int i = 0; i < kKeyVectors; ++i) {
    const __m512 logits =
        _mm512_load_ps(lanes.logits + i * kQuads * kWidth + at);
    if constexpr (kMasked) {
      x[i] = _mm512_mask_mul_ps(_mm512_set1_ps(kMaskedLogit),
                                _mm512_cmplt_epi32_mask(key, visible), scale,
                                logits);
      key = _mm512_add_epi32(key, _mm512_set1_epi32(kQuad));
    } else {
      x[i] = _mm512_mul_ps(scale, logits);
    }
    max = _mm512_max_ps(max, x[i]);
  }
  max = _mm512_max_ps(max, _mm512_permute_ps(max, 0xb1));
  max = _mm512_max_ps(max, _mm512_permute_ps(max, 0x4e));
  const __m512 rescale = Exp2(_mm512_sub_ps(old_max, max));
  __m512 sum = _mm512_mul_ps(rescale, _mm512_load_ps(lanes.sum + at));
  const __m512i interleave = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
#pragma GCC unroll 8
  for (int i = 0; i < kKeyVectors; i += 2) {
    const __m512 even = Exp2(_mm512_sub_ps(x[i], max));
    const __m512 odd = Exp2(_mm512_sub_ps(x[i + 1], max));
    sum = _mm512_add_ps(sum, _mm512_add_ps(even, odd));
    _mm512_store_si512(
        lanes.probabilities + (i / 2 * kQuads * kWidth + at) * 2,
        _mm512_permutexvar_epi64(interleave, RoundPairs(even, odd)));
  }
  _mm512_store_ps(lanes.max + at, max);
  _mm512_store_ps(lanes.sum + at, sum);
  _mm512_store_ps(lanes.rescale + at, rescale);
}

template <int kQuads>
WINNOW_AVX512_BF16 void StorePartial(const AttentionSpan& span,
                                     const Lanes& lanes,
                                     const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  for (int lane = 0; lane < span.num_lanes; ++lane) {
    const float* sums = lanes.sum + lane * kQuad;
    partial.max[lane] = lanes.max[lane * kQuad];
    partial.sum[lane] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  for (int q = 0; q < kQuads; ++q) {
    const int num_lanes = std::min(kQuad, span.num_lanes - q * kQuad);
    for (int dim = 0; dim < head_dim; dim += kQuad) {
      const float* output = lanes.output + (dim * kQuads + q) * kWidth;
      alignas(64) float sums[kWidth];
      _mm512_store_ps(
          sums, SumQuarters(_mm512_load_ps(output),
                            _mm512_load_ps(output + kQuads * kWidth),
                            _mm512_load_ps(output + 2 * kQuads * kWidth),
                            _mm512_load_ps(output + 3 * kQuads * kWidth)));
      for (int l = 0; l < num_lanes; ++l) {
        _mm_storeu_ps(partial.output + (q * kQuad + l) * head_dim + dim,
                      _mm_load_ps(sums + l * kQuad));
      }
    }
  }
}

template <int kQuads>
void Attend(const AttentionSpan& span, std::byte* scratch,
            const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const Lanes lanes = Carve<kQuads>(scratch, head_dim);
  LoadLanes<kQuads>(span, lanes);
  const auto [least, most] =
      std::minmax_element(span.visible, span.visible + span.num_lanes);
  alignas(64) uint16_t copy[kValueGroupTokens * 256];
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < *most; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const int count = std::min(ref.count, *most - first);
    const auto* keys = static_cast<const uint16_t*>(ref.tile);
    const uint16_t* values = keys + kBlockTokens * head_dim;
    // Half a tile ahead: far enough, and both halves stay in the L1 cache.
    Logits<kQuads>(keys, count, head_dim,
                   {reinterpret_cast<const std::byte*>(values)}, lanes);
    const bool masked = count < kBlockTokens || first + count > *least;
    for (int quad = 0; quad < kQuads; ++quad) {
      if (masked) {
        OnlineSoftmax<kQuads, true>(first, first + count, span.scale_log2, quad,
                                    lanes);
      } else {
        OnlineSoftmax<kQuads, false>(first, first + count, span.scale_log2,
                                     quad, lanes);
      }
    }
    first += ref.count;
    const bool last = i + 1 == span.tiles.size() || first >= *most;
    AddValues<kQuads>({.halves = HalvesOf(values, count, kStep, head_dim, copy),
                       .num_steps = (count + kStep - 1) / kStep},
                      head_dim, {NextTile(span, i, last)}, lanes);
  }
  StorePartial<kQuads>(span, lanes, partial);
}

}  // namespace
}  // namespace quads

void Bfloat16AttentionFewLanes(const AttentionSpan& span, std::byte* scratch,
                               const AttentionPartial& partial) {
  static_assert(kFewLanes == 4 * quads::kQuad);
  switch ((span.num_lanes - 1) / quads::kQuad) {
    case 0:
      return quads::Attend<1>(span, scratch, partial);
    case 1:
      return quads::Attend<2>(span, scratch, partial);
    case 2:
      return quads::Attend<3>(span, scratch, partial);
    default:
      return quads::Attend<4>(span, scratch, partial);
  }
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
