#pragma once

#include <cstdint>

#include "gpu/cpu/int8_dot.h"

namespace winnow {

// Int8DotArgs for a weight in panels; `first_row` is a multiple of
// kPanelRows.  Needs CpuLevel::kAvx512 with VNNI.
//
// The products of integers are exact; each token's result is the same whatever
// the other tokens are and however the rows are split.
using PanelDot = void (*)(const Int8DotArgs& args);

// Null for the types that have no panels.
PanelDot SelectPanelDot(WeightType type);

}  // namespace winnow
