#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/cpu/attention_bf16.h"

// The products of attention_bf16_few.cc.
//
// Four lanes, a quad, share a vector: each has a quarter, 8 bfloat16 wide.  8
// dimensions of a key, or 8 tokens of a value dimension, lie side by side in a
// tile; they are loaded into all four quarters at once and multiplied with
// those of the four queries, or probabilities.  So nothing in a tile is
// transposed, a load serves up to 16 lanes, and what is left of a sum lies
// within a quarter.
namespace winnow::quads {

inline constexpr int kWidth = 16;  // floats of a vector
inline constexpr int kQuad = 4;    // lanes of a vector, and floats of a quarter
inline constexpr int kStep = 8;    // bfloat16 of a quarter
inline constexpr int kKeyVectors = kBlockTokens / kQuad;
inline constexpr int kValueSteps = kBlockTokens / kStep;
inline constexpr int kHalfSteps = kValueGroupTokens / kStep;

// Scratch of one call.  Vectors of quads lie side by side.
struct Lanes {
  uint16_t* query;          // [head_dim / kStep, quads] vectors
  float* output;            // [head_dim, quads] vectors, to be summed over the
                            // floats of a quarter
  float* logits;            // [kKeyVectors, quads] vectors of 4 keys a lane
  uint16_t* probabilities;  // [kValueSteps, quads] vectors
  float* max;               // [quads] vectors, equal within a quarter
  float* sum;               // [quads] vectors, to be summed
  float* rescale;           // [quads] vectors
  int32_t* visible;         // [quads] vectors
};

// What a phase of the kernel asks the memory for while it works, evenly spread:
// bursts would fill the queue of misses and stall the loads behind them.
struct Ahead {
  const std::byte* address;

  void Fetch(size_t bytes) {
    Prefetch(address, bytes);
    address += bytes;
  }
};

// In every quarter: the sums of a, b, c and d.
WINNOW_AVX512_BF16_INLINE __m512 SumQuarters(__m512 a, __m512 b, __m512 c,
                                             __m512 d) {
  const __m512d ab = _mm512_castps_pd(
      _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
  const __m512d cd = _mm512_castps_pd(
      _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
}

// 8 bfloat16 in every quarter.
WINNOW_AVX512_BF16_INLINE __m512i BroadcastStep(const uint16_t* step) {
  return _mm512_broadcast_i32x4(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(step)));
}

// Keys, or dimensions, whose accumulators stay in registers together.
template <int kQuads>
constexpr int kRows = kQuads == 1  ? 16
                      : kQuads < 4 ? 8
                                   : 4;
// Memory to ask for at each step of them: as much as the step reads.
template <int kQuads>
constexpr size_t kStepBytes = kRows<kQuads> * kStep * sizeof(uint16_t);

// Logits, not scaled, of `num_keys` keys rounded up to kRows.
template <int kQuads>
WINNOW_AVX512_BF16 void Logits(const uint16_t* keys, int num_keys, int head_dim,
                               Ahead ahead, const Lanes& lanes) {
  constexpr int kKeys = kRows<kQuads>;
  for (int k = 0; k < num_keys; k += kKeys) {
    __m512 sums[kKeys][kQuads];
#pragma GCC unroll 16
    for (int r = 0; r < kKeys; ++r) {
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        sums[r][q] = _mm512_setzero_ps();
      }
    }
    const uint16_t* key = keys + k * head_dim;
    const uint16_t* query = lanes.query;
    for (int dim = 0; dim < head_dim; dim += kStep) {
      ahead.Fetch(kStepBytes<kQuads>);
      __m512i queries[kQuads];
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        queries[q] = _mm512_load_si512(query + q * 2 * kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kKeys; ++r) {
        const __m512i step = BroadcastStep(key + r * head_dim + dim);
#pragma GCC unroll 4
        for (int q = 0; q < kQuads; ++q) {
          sums[r][q] = DotPairs(sums[r][q], queries[q], step);
        }
      }
      query += kQuads * 2 * kWidth;
    }
    float* logits = lanes.logits + k / kQuad * kQuads * kWidth;
#pragma GCC unroll 4
    for (int r = 0; r < kKeys; r += kQuad) {
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        _mm512_store_ps(logits + (r / kQuad * kQuads + q) * kWidth,
                        SumQuarters(sums[r][q], sums[r + 1][q], sums[r + 2][q],
                                    sums[r + 3][q]));
      }
    }
  }
}

// Both halves of the values of a tile, of which `num_steps` times kStep count.
struct Values {
  ValueHalves halves;
  int num_steps;
};

// output = output * rescale + values . probabilities.
template <int kQuads>
WINNOW_AVX512_BF16 void AddValues(const Values& values, int head_dim,
                                  Ahead ahead, const Lanes& lanes) {
  constexpr int kDims = kRows<kQuads>;
  for (int dim = 0; dim < head_dim; dim += kDims) {
    float* output = lanes.output + dim * kQuads * kWidth;
    __m512 sums[kDims][kQuads];
#pragma GCC unroll 16
    for (int r = 0; r < kDims; ++r) {
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        sums[r][q] =
            _mm512_mul_ps(_mm512_load_ps(lanes.rescale + q * kWidth),
                          _mm512_load_ps(output + (r * kQuads + q) * kWidth));
      }
    }
    const uint16_t* p = lanes.probabilities;
    for (int step = 0; step < values.num_steps; ++step) {
      ahead.Fetch(kStepBytes<kQuads>);
      const uint16_t* value = values.halves.at[step / kHalfSteps] +
                              dim * kValueGroupTokens +
                              step % kHalfSteps * kStep;
      __m512i probabilities[kQuads];
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        probabilities[q] = _mm512_load_si512(p + q * 2 * kWidth);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kDims; ++r) {
        const __m512i tokens = BroadcastStep(value + r * kValueGroupTokens);
#pragma GCC unroll 4
        for (int q = 0; q < kQuads; ++q) {
          sums[r][q] = DotPairs(sums[r][q], probabilities[q], tokens);
        }
      }
      p += kQuads * 2 * kWidth;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kDims; ++r) {
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        _mm512_store_ps(output + (r * kQuads + q) * kWidth, sums[r][q]);
      }
    }
  }
}

}  // namespace winnow::quads
