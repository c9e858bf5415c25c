#pragma once

#include <span>

#include "absl/status/status.h"

#include "gpu/cpu/thread_pool.h"
#include "gpu/packing.h"

namespace winnow {

// Packing on the threads of a pool, one head a task; the same bits as
// ReferencePacking.  Not thread-safe.
class CpuPacking final : public PackingOps {
 public:
  // `pool` outlives this object.
  explicit CpuPacking(ThreadPool& pool) : pool_(pool) {}

  absl::Status Pack(std::span<const PackArgs> heads) override;
  absl::Status Fold(std::span<const FoldArgs> heads) override;
  absl::Status CopySlots(std::span<const CopySlotsArgs> copies) override;

 private:
  ThreadPool& pool_;
};

}  // namespace winnow
