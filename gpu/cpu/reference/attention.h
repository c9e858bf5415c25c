#pragma once

#include "absl/status/status.h"

#include "gpu/attention.h"

namespace winnow {

// The definition of attention: one query at a time, softmax in two passes, no
// rounding of queries or probabilities.  Logits and probabilities are float32;
// sums over the entries, of which there may be many, are double.
class ReferenceAttention final : public AttentionOps {
 public:
  absl::Status Attention(const AttentionArgs& args) override;
  absl::Status AttentionMass(const AttentionMassArgs& args) override;
};

}  // namespace winnow
