#pragma once

#include "absl/status/status.h"

#include "gpu/elementwise.h"
#include "gpu/linear.h"
#include "gpu/sampling.h"

namespace winnow {

// What every backend requires of its arguments before it touches memory:
// InvalidArgument that names the field.
absl::Status CheckArguments(const LinearArgs& args);
absl::Status CheckArguments(const EmbedArgs& args);
absl::Status CheckArguments(const RmsNormArgs& args);
absl::Status CheckArguments(const RotaryArgs& args);
absl::Status CheckArguments(const SiluMulArgs& args);
absl::Status CheckArguments(const TopLogitsArgs& args);

}  // namespace winnow
