#pragma once

#include <span>

#include "gpu/attention.h"
#include "gpu/cpu/attention_kernel.h"

namespace winnow {

// Partial results that become the attention of some lanes.
struct LaneMerge {
  std::span<const AttentionPartial> partials;  // 1 to kMaxKeySplits
  CompensationRef compensation;
  float scale_log2 = 0;  // AttentionSpan's
  int head_dim = 0;
};

// Writes one lane's output [head_dim]: its partial results, in their order, and
// the compensation entry, merged by log-sum-exp and normalised.
void MergeLane(const LaneMerge& merge, int lane, const float* query,
               float* output);

}  // namespace winnow
