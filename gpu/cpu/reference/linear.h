#pragma once

#include "gpu/linear.h"

namespace winnow {

// The definition of the matrix operations: a weight row is dequantised to
// float32, products are added in double precision in column order, and the
// sum is rounded to float32 once, before the bias.
class ReferenceLinear final : public LinearOps {
 public:
  size_t ResidentBytes(const WeightView&) const override { return 0; }
  WeightView MakeResident(const WeightView& weight, std::byte*) override {
    return weight;
  }
  absl::Status LinearAll(std::span<const LinearArgs> products) override;
  absl::Status Embed(const EmbedArgs& args) override;
};

}  // namespace winnow
