#pragma once

#include "gpu/linear.h"

namespace winnow {

// The definition of the matrix operations: a weight row is dequantised to
// float32, products are added in double precision in column order, and the
// sum is rounded to float32 once, before the bias.
class ReferenceLinear final : public LinearOps {
 public:
  absl::Status Linear(const LinearArgs& args) override;
  absl::Status Embed(const EmbedArgs& args) override;
};

}  // namespace winnow
