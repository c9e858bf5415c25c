#pragma once

#include "gpu/elementwise.h"

namespace winnow {

// The definition of the operations on rows and elements.  Sums are in double
// precision; an angle is the float32 product of position and inverse
// frequency, as Hugging Face computes it, and its sine and cosine are exact
// but for the last rounding.
class ReferenceElementwise final : public ElementwiseOps {
 public:
  absl::Status RmsNorm(const RmsNormArgs& args) override;
  absl::Status Rotary(const RotaryArgs& args) override;
  absl::Status SiluMul(const SiluMulArgs& args) override;
};

}  // namespace winnow
