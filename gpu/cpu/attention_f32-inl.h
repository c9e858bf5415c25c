// The arithmetic of attention_f32.cc on vectors of lanes.
//
// Compiled once a target: include after hwy/foreach_target.h.  Logits are
// [key][lane], outputs [dimension][lane]; "stride" is the number of lanes,
// padded to vectors.

// A guard that opens again for every target.
#if defined(WINNOW_GPU_CPU_ATTENTION_F32_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WINNOW_GPU_CPU_ATTENTION_F32_INL_H_
#undef WINNOW_GPU_CPU_ATTENTION_F32_INL_H_
#else
#define WINNOW_GPU_CPU_ATTENTION_F32_INL_H_
#endif

#include <cstddef>

#include "gpu/cpu/attention_kernel.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace winnow {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vec = hn::Vec<Floats>;
constexpr Floats kFloats;
constexpr int kWidth = static_cast<int>(hn::MaxLanes(kFloats));

// Keys, or dimensions, whose accumulators stay in registers together: half of
// the registers, 32 from AVX-512 on.
template <int kVecs>
constexpr int kRows = kVecs == 1 || kWidth == 16 ? 8 : 4;
constexpr int kMaxRows = 8;

// 2^x for x <= 0; 0 below -126.5.
HWY_INLINE Vec Exp2(Vec x) {
  const hn::RebindToSigned<Floats> ints;
  x = hn::Max(x, hn::Set(kFloats, -127.0f));
  const Vec whole = hn::Round(x);
  const Vec part = x - whole;
  Vec sum = hn::Set(kFloats, kExp2[4]);
  for (int i = 3; i >= 0; --i) {
    sum = hn::MulAdd(sum, part, hn::Set(kFloats, kExp2[i]));
  }
  sum = hn::MulAdd(sum, part, hn::Set(kFloats, 1.0f));
  const auto exponent = hn::ConvertTo(ints, whole) + hn::Set(ints, 127);
  return sum * hn::BitCast(kFloats, hn::ShiftLeft<23>(exponent));
}

// The keys, or the values, of the next tile: fetched while the present ones
// are worked on.
struct Ahead {
  const std::byte* address;
  size_t bytes;

  // The share of rows [row, row + count) of `total`.
  HWY_INLINE void Fetch(int row, int count, int total) const {
    const size_t step = bytes / total;
    for (size_t i = row * step; i < (row + count) * step; i += 64) {
      hwy::Prefetch(address + i);
    }
  }
};

// Keys [count, head_dim], or values [head_dim][count] in groups of
// kValueGroupTokens, of a tile.
struct TileFloats {
  const float* elements;
  int count;
  int head_dim;
};

// logits[k, lane] = key[k] . query[lane], a multiple of kRows<kVecs> keys.
template <int kVecs>
HWY_INLINE void Logits(const TileFloats& keys, const Ahead& ahead,
                       const float* query, int stride, float* logits) {
  const int head_dim = keys.head_dim;
  for (int k = 0; k < keys.count; k += kRows<kVecs>) {
    ahead.Fetch(k, kRows<kVecs>, kBlockTokens);
    Vec sums[kRows<kVecs>][kVecs];
    HWY_UNROLL(8)
    for (int r = 0; r < kRows<kVecs>; ++r) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        sums[r][v] = hn::Zero(kFloats);
      }
    }
    const float* key = keys.elements + k * head_dim;
    for (int dim = 0; dim < head_dim; ++dim) {
      Vec q[kVecs];
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        q[v] = hn::Load(kFloats, query + dim * stride + v * kWidth);
      }
      HWY_UNROLL(8)
      for (int r = 0; r < kRows<kVecs>; ++r) {
        const Vec x = hn::Set(kFloats, key[r * head_dim + dim]);
        HWY_UNROLL(2)
        for (int v = 0; v < kVecs; ++v) {
          sums[r][v] = hn::MulAdd(x, q[v], sums[r][v]);
        }
      }
    }
    HWY_UNROLL(8)
    for (int r = 0; r < kRows<kVecs>; ++r) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        hn::Store(sums[r][v], kFloats, logits + (k + r) * stride + v * kWidth);
      }
    }
  }
}

// output[dim, lane] = output[dim, lane] * rescale[lane]
//                   + sum_k value[dim][k] * probability[k, lane].
template <int kVecs>
HWY_INLINE void AddValues(const TileFloats& values, const Ahead& ahead,
                          const float* probabilities, int stride,
                          const float* rescale, float* output) {
  const int head_dim = values.head_dim;
  for (int dim = 0; dim < head_dim; dim += kRows<kVecs>) {
    ahead.Fetch(dim, kRows<kVecs>, head_dim);
    Vec sums[kRows<kVecs>][kVecs];
    HWY_UNROLL(8)
    for (int r = 0; r < kRows<kVecs>; ++r) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        sums[r][v] =
            hn::Load(kFloats, output + (dim + r) * stride + v * kWidth) *
            hn::Load(kFloats, rescale + v * kWidth);
      }
    }
    for (int k = 0; k < values.count; ++k) {
      const float* value =
          values.elements +
          ((k / kValueGroupTokens) * head_dim + dim) * kValueGroupTokens +
          k % kValueGroupTokens;
      Vec p[kVecs];
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        p[v] = hn::Load(kFloats, probabilities + k * stride + v * kWidth);
      }
      HWY_UNROLL(8)
      for (int r = 0; r < kRows<kVecs>; ++r) {
        const Vec x = hn::Set(kFloats, value[r * kValueGroupTokens]);
        HWY_UNROLL(2)
        for (int v = 0; v < kVecs; ++v) {
          sums[r][v] = hn::MulAdd(x, p[v], sums[r][v]);
        }
      }
    }
    HWY_UNROLL(8)
    for (int r = 0; r < kRows<kVecs>; ++r) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVecs; ++v) {
        hn::Store(sums[r][v], kFloats,
                  output + (dim + r) * stride + v * kWidth);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#endif  // the guard of the target
