#pragma once

#include <cstddef>
#include <span>

#include "absl/functional/function_ref.h"

#include "gpu/cpu/cpu_backend.h"
#include "gpu/kv_tile.h"

namespace winnow {

// Query vectors that one kernel call carries, a query head of a token each.
inline constexpr int kMaxLanes = 48;

// 2^x = 1 + x * sum_i kExp2[i] x^i on [-0.5, 0.5], to 2e-7; exact at 0.
inline constexpr float kExp2[5] = {0.69314718f, 0.24022350f, 0.055503812f,
                                   0.0096663684f, 0.0013381302f};

// Where a lane has seen no entry yet, its largest logit is this: finite, so
// that differences stay numbers.
inline constexpr float kNoMax = -1e30f;

// Some queries of a row against some of its tiles.
struct AttentionSpan {
  std::span<const KvTileRef> tiles;
  KvTileShape shape;
  float scale_log2 = 0;           // scale * log2(e): logits are kept in base 2
  int num_lanes = 0;              // 1 to kMaxLanes
  const float* query[kMaxLanes];  // [head_dim] each
  int visible[kMaxLanes];  // the lane attends to the first so many entries of
                           // `tiles`; may be none
  // The tile, or null, that the calling thread turns to after these, so that
  // it can be fetched ahead.  Called at most once, when the last tile begins;
  // a kernel need not call it.
  const absl::FunctionRef<const void*()>* next_tile = nullptr;
};

// Attention before normalisation, relative to each lane's largest logit:
// partial results over different tiles merge by log-sum-exp.
struct AttentionPartial {
  float* max = nullptr;     // [num_lanes], base 2; kNoMax where none is seen
  float* sum = nullptr;     // [num_lanes]
  float* output = nullptr;  // [num_lanes, head_dim]
};

// Memory of a partial result, in floats.
constexpr size_t PartialFloats(int num_lanes, int head_dim) {
  return static_cast<size_t>(num_lanes) * static_cast<size_t>(head_dim + 2);
}

// Kernels walk the tiles once, with an online softmax per lane (Milakov and
// Gimelshein 2018).  What a lane gets does not depend on the other lanes.
// `scratch` is 64-byte aligned, AttentionScratchBytes(head_dim) long.
using AttentionKernel = void (*)(const AttentionSpan& span, std::byte* scratch,
                                 const AttentionPartial& partial);

// Lanes of one ProbabilityKernel call.
inline constexpr int kProbabilityLanes = 16;

// Writes the softmax itself: probabilities[k, lane] for the entries k below
// the largest `visible`, zero where the lane does not see the entry.
// `span.num_lanes` <= kProbabilityLanes; lanes beyond it get anything.
using ProbabilityKernel = void (*)(const AttentionSpan& span,
                                   std::byte* scratch, float* probabilities);

struct AttentionKernels {
  AttentionKernel attention = nullptr;
  ProbabilityKernel probability = nullptr;
};

// Scratch of any kernel below for one thread.
size_t AttentionScratchBytes(int head_dim);

// Kernels that compute in float32, for tiles of either type.
AttentionKernels GetFloat32AttentionKernels(CpuLevel level);

// bfloat16 tiles, queries and probabilities through AVX512_BF16; float32
// accumulation.  Needs CpuLevel::kAvx512Bf16.
void Bfloat16Attention(const AttentionSpan& span, std::byte* scratch,
                       const AttentionPartial& partial);

// The same with the products through AMX, where head_dim is a multiple of 32.
// Needs CpuLevel::kAmx.
void AmxAttention(const AttentionSpan& span, std::byte* scratch,
                  const AttentionPartial& partial);

}  // namespace winnow
