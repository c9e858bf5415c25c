#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace winnow {

// The `count` largest logits of one row, largest first; equal logits in the
// order of their ids.  Together with the log of the sum of exponentials of the
// whole row this is all that a sampler needs.
struct TopLogitsArgs {
  std::span<const float> logits;  // [vocabulary]
  std::span<int32_t> ids;         // [count]; count <= vocabulary
  std::span<float> values;        // [count]
  float* log_sum_exp = nullptr;   // over all logits, natural log
};

class SamplingOps {
 public:
  virtual ~SamplingOps() = default;
  virtual absl::Status TopLogits(const TopLogitsArgs& args) = 0;
};

}  // namespace winnow
