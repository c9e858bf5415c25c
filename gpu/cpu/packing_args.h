#pragma once

#include <span>

#include "absl/status/status.h"

#include "gpu/packing.h"

namespace winnow {

// What every CPU implementation checks before it starts: InvalidArgument with
// the reason, or OK.  Nothing is written if any head of a call is refused.
absl::Status CheckPack(std::span<const PackArgs> heads);
absl::Status CheckFold(std::span<const FoldArgs> heads);
absl::Status CheckCopySlots(std::span<const CopySlotsArgs> copies);

}  // namespace winnow
