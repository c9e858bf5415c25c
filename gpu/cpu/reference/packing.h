#pragma once

#include <span>

#include "absl/status/status.h"

#include "gpu/packing.h"

namespace winnow {

// The definition of packing: one element at a time.
class ReferencePacking final : public PackingOps {
 public:
  absl::Status Pack(std::span<const PackArgs> heads) override;
  absl::Status Fold(std::span<const FoldArgs> heads) override;
  absl::Status CopySlots(std::span<const CopySlotsArgs> copies) override;
};

}  // namespace winnow
