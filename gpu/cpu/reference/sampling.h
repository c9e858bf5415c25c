#pragma once

#include "gpu/sampling.h"

namespace winnow {

// The definition of sampling's reduction: a sort, and a sum of exponentials in
// double precision.  A logit that is not a number is an invalid argument.
class ReferenceSampling final : public SamplingOps {
 public:
  absl::Status TopLogits(const TopLogitsArgs& args) override;
};

}  // namespace winnow
