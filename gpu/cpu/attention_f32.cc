// Attention in float32: one query vector a SIMD lane.
//
// Logits are a matrix [key][lane], outputs [dimension][lane]: keys and values
// are broadcast element by element against vectors of queries and
// probabilities, so that softmax needs no horizontal operation and tiles are
// read as they lie.  Tiles of bfloat16 are widened first, one at a time.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "gpu/cpu/attention_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/cpu/attention_f32.cc"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include "hwy/foreach_target.h"  // IWYU pragma: keep

// clang-format off: after foreach_target.h, which compiles it once a target
#include "gpu/cpu/attention_f32-inl.h"
// clang-format on

#ifndef WINNOW_GPU_CPU_ATTENTION_F32_ONCE
#define WINNOW_GPU_CPU_ATTENTION_F32_ONCE
namespace winnow {

// Scratch of one thread; "stride" is the number of lanes, padded to vectors.
struct Float32Scratch {
  float* query;    // [head_dim, stride]
  float* output;   // [head_dim, stride]
  float* logits;   // [kBlockTokens, stride], then probabilities
  float* max;      // [stride]
  float* sum;      // [stride]
  float* rescale;  // [stride]
  float* visible;  // [stride], as floats: lane-wise comparisons
  float* widened;  // [2, kBlockTokens, head_dim]
};

}  // namespace winnow
#endif  // WINNOW_GPU_CPU_ATTENTION_F32_ONCE

HWY_BEFORE_NAMESPACE();
namespace winnow {
namespace HWY_NAMESPACE {

Float32Scratch Carve(std::byte* scratch, int head_dim) {
  float* next = reinterpret_cast<float*>(scratch);
  const auto take = [&next](size_t count) {
    float* taken = next;
    next += count;
    return taken;
  };
  const size_t dims = static_cast<size_t>(head_dim);
  return {.query = take(dims * kMaxLanes),
          .output = take(dims * kMaxLanes),
          .logits = take(size_t{kBlockTokens} * kMaxLanes),
          .max = take(kMaxLanes),
          .sum = take(kMaxLanes),
          .rescale = take(kMaxLanes),
          .visible = take(kMaxLanes),
          .widened = take(2 * size_t{kBlockTokens} * dims)};
}

// Scales and masks the logits of one vector of lanes and turns them into
// probabilities relative to the new maximum.  `first` is the index of the
// tile's first entry.
HWY_INLINE void OnlineSoftmax(const Float32Scratch& scratch, int lane,
                              int stride, int first, int num_keys,
                              float scale_log2) {
  const Vec visible = hn::Load(kFloats, scratch.visible + lane);
  const Vec scale = hn::Set(kFloats, scale_log2);
  const Vec unseen = hn::Inf(kFloats);
  const Vec old_max = hn::Load(kFloats, scratch.max + lane);
  Vec max = old_max;
  float* logits = scratch.logits + lane;
  for (int k = 0; k < num_keys; ++k) {
    const auto seen =
        hn::Lt(hn::Set(kFloats, static_cast<float>(first + k)), visible);
    const Vec x = hn::IfThenElse(
        seen, hn::Load(kFloats, logits + k * stride) * scale, hn::Neg(unseen));
    max = hn::Max(max, x);
    hn::Store(x, kFloats, logits + k * stride);
  }
  const Vec rescale = Exp2(old_max - max);
  Vec sum = hn::Load(kFloats, scratch.sum + lane) * rescale;
  for (int k = 0; k < num_keys; ++k) {
    const Vec p = Exp2(hn::Load(kFloats, logits + k * stride) - max);
    sum = sum + p;
    hn::Store(p, kFloats, logits + k * stride);
  }
  hn::Store(max, kFloats, scratch.max + lane);
  hn::Store(sum, kFloats, scratch.sum + lane);
  hn::Store(rescale, kFloats, scratch.rescale + lane);
}

// The tile's elements as floats: in place, or widened into scratch.
const float* TileElements(const KvTileRef& ref, const KvTileShape& shape,
                          float* widened) {
  if (shape.dtype == KvDtype::kFloat32) {
    return static_cast<const float*>(ref.tile);
  }
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::RebindToUnsigned<Floats> words;
  const auto* source = static_cast<const uint16_t*>(ref.tile);
  const size_t count = shape.Bytes() / KvDtypeSize(shape.dtype);
  for (size_t i = 0; i < count; i += kWidth) {
    const auto wide = hn::PromoteTo(words, hn::Load(halves, source + i));
    hn::Store(hn::BitCast(kFloats, hn::ShiftLeft<16>(wide)), kFloats,
              widened + i);
  }
  return widened;
}

// Spreads the queries over the lanes; padding lanes repeat the last and see
// nothing.  Returns the stride.
int LoadLanes(const AttentionSpan& span, const Float32Scratch& scratch) {
  const int stride = (span.num_lanes + kWidth - 1) / kWidth * kWidth;
  for (int lane = 0; lane < stride; ++lane) {
    const bool real = lane < span.num_lanes;
    const float* query = span.query[real ? lane : span.num_lanes - 1];
    for (int dim = 0; dim < span.shape.head_dim; ++dim) {
      scratch.query[dim * stride + lane] = query[dim];
    }
    scratch.visible[lane] = real ? static_cast<float>(span.visible[lane]) : 0;
    scratch.max[lane] = kNoMax;
    scratch.sum[lane] = 0;
  }
  std::fill_n(scratch.output, span.shape.head_dim * stride, 0.0f);
  return stride;
}

void StorePartial(const AttentionSpan& span, const Float32Scratch& scratch,
                  int stride, const AttentionPartial& partial) {
  for (int lane = 0; lane < span.num_lanes; ++lane) {
    partial.max[lane] = scratch.max[lane];
    partial.sum[lane] = scratch.sum[lane];
    float* output = partial.output + lane * span.shape.head_dim;
    for (int dim = 0; dim < span.shape.head_dim; ++dim) {
      output[dim] = scratch.output[dim * stride + lane];
    }
  }
}

// Calls step(lane, number of vectors) over the lanes, two vectors at a time
// and at last one.
template <typename Step>
HWY_INLINE void ForVectors(int stride, const Step& step) {
  int lane = 0;
  for (; lane + 2 * kWidth <= stride; lane += 2 * kWidth) {
    step(lane, std::integral_constant<int, 2>());
  }
  if (lane < stride) {
    step(lane, std::integral_constant<int, 1>());
  }
}

int LargestVisible(const AttentionSpan& span) {
  return *std::max_element(span.visible, span.visible + span.num_lanes);
}

// The keys of a tile, rounded up to whole steps of Logits.
TileFloats KeysOf(const float* tile, int count, int head_dim) {
  return {tile, (count + kMaxRows - 1) / kMaxRows * kMaxRows, head_dim};
}

Ahead KeysAhead(const AttentionSpan& span, size_t tile) {
  const size_t next = std::min(tile + 1, span.tiles.size() - 1);
  return {static_cast<const std::byte*>(span.tiles[next].tile),
          span.shape.KeyBytes()};
}

void Attention(const AttentionSpan& span, std::byte* memory,
               const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const Float32Scratch scratch = Carve(memory, head_dim);
  const int stride = LoadLanes(span, scratch);
  const int visible = LargestVisible(span);
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < visible; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const Ahead keys_ahead = KeysAhead(span, i);
    const Ahead values_ahead = {keys_ahead.address + keys_ahead.bytes,
                                keys_ahead.bytes};
    const int count = std::min(ref.count, visible - first);
    const float* tile = TileElements(ref, span.shape, scratch.widened);
    const TileFloats keys = KeysOf(tile, count, head_dim);
    const TileFloats values = {tile + kBlockTokens * head_dim, count, head_dim};
    ForVectors(stride, [&](int lane, auto vecs) HWY_ATTR {
      Logits<decltype(vecs)::value>(keys, keys_ahead, scratch.query + lane,
                                    stride, scratch.logits + lane);
    });
    for (int lane = 0; lane < stride; lane += kWidth) {
      OnlineSoftmax(scratch, lane, stride, first, count, span.scale_log2);
    }
    ForVectors(stride, [&](int lane, auto vecs) HWY_ATTR {
      AddValues<decltype(vecs)::value>(
          values, values_ahead, scratch.logits + lane, stride,
          scratch.rescale + lane, scratch.output + lane);
    });
    first += ref.count;
  }
  StorePartial(span, scratch, stride, partial);
}

// Softmax of logits [num_keys, kProbabilityLanes] in place.
void Softmax(const AttentionSpan& span, const Float32Scratch& scratch,
             int num_keys, float* logits) {
  const Vec scale = hn::Set(kFloats, span.scale_log2);
  for (int lane = 0; lane < kProbabilityLanes; lane += kWidth) {
    const Vec visible = hn::Load(kFloats, scratch.visible + lane);
    float* column = logits + lane;
    Vec max = hn::Set(kFloats, kNoMax);
    for (int k = 0; k < num_keys; ++k) {
      const auto seen =
          hn::Lt(hn::Set(kFloats, static_cast<float>(k)), visible);
      const Vec x = hn::IfThenElse(
          seen, hn::Load(kFloats, column + k * kProbabilityLanes) * scale,
          hn::Neg(hn::Inf(kFloats)));
      max = hn::Max(max, x);
      hn::Store(x, kFloats, column + k * kProbabilityLanes);
    }
    Vec sum = hn::Zero(kFloats);
    for (int k = 0; k < num_keys; ++k) {
      const Vec p =
          Exp2(hn::Load(kFloats, column + k * kProbabilityLanes) - max);
      sum = sum + p;
      hn::Store(p, kFloats, column + k * kProbabilityLanes);
    }
    const Vec inverse = hn::Set(kFloats, 1.0f) / sum;
    for (int k = 0; k < num_keys; ++k) {
      float* p = column + k * kProbabilityLanes;
      hn::Store(hn::Load(kFloats, p) * inverse, kFloats, p);
    }
  }
}

void Probability(const AttentionSpan& span, std::byte* memory,
                 float* probabilities) {
  const int head_dim = span.shape.head_dim;
  const Float32Scratch scratch = Carve(memory, head_dim);
  AttentionSpan padded = span;
  for (int lane = span.num_lanes; lane < kProbabilityLanes; ++lane) {
    padded.query[lane] = span.query[0];
    padded.visible[lane] = span.visible[0];
  }
  padded.num_lanes = kProbabilityLanes;
  const int stride = LoadLanes(padded, scratch);
  const int visible = LargestVisible(span);
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < visible; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const Ahead keys_ahead = KeysAhead(span, i);
    const int count = std::min(ref.count, visible - first);
    const float* tile = TileElements(ref, span.shape, scratch.widened);
    const TileFloats keys = KeysOf(tile, count, head_dim);
    ForVectors(stride, [&](int lane, auto vecs) HWY_ATTR {
      Logits<decltype(vecs)::value>(keys, keys_ahead, scratch.query + lane,
                                    stride, scratch.logits + lane);
    });
    std::copy_n(scratch.logits, static_cast<size_t>(count) * kProbabilityLanes,
                probabilities + static_cast<size_t>(first) * kProbabilityLanes);
    first += ref.count;
  }
  Softmax(span, scratch, visible, probabilities);
}

AttentionKernels Kernels() {
  return {.attention = Attention, .probability = Probability};
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#if !(HWY_TARGETS & HWY_AVX2) || !(HWY_TARGETS & HWY_AVX3)
#error "Build for the baseline x86-64: levels are chosen at run time."
#endif

namespace winnow {

size_t AttentionScratchBytes(int head_dim) {
  const size_t dims = static_cast<size_t>(head_dim);
  return sizeof(float) * (2 * dims * kMaxLanes + kBlockTokens * kMaxLanes +
                          4 * kMaxLanes + 2 * kBlockTokens * dims);
}

AttentionKernels GetFloat32AttentionKernels(CpuLevel level) {
  return level == CpuLevel::kAvx2 ? N_AVX2::Kernels() : N_AVX3::Kernels();
}

}  // namespace winnow
#endif  // HWY_ONCE
