#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "gpu/base/mutex.h"

namespace winnow {

// Memory that segments are received into: large mappings, in huge pages where
// the system grants them, and a few of them kept for the next read.  Fresh
// small pages would cost a third of the time of a pull.
//
// Thread-safe.  A slab may outlive its pool.
class SlabPool : public std::enable_shared_from_this<SlabPool> {
 public:
  static constexpr size_t kSlabBytes = size_t{32} << 20;
  // When nobody uses them: a context of 256 MiB is then received into pages
  // that are there already (42 % of a plain UNIX socket; 35 % without).
  static constexpr size_t kKeptSlabs = 9;

  static std::shared_ptr<SlabPool> Create();
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  struct Slab {
    std::byte* begin = nullptr;
    size_t bytes = 0;
  };
  // At least `bytes`; null if there is no memory.
  std::shared_ptr<const Slab> Take(size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  SlabPool() = default;
  void GiveBack(const Slab& slab) ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;
  std::vector<Slab> kept_ ABSL_GUARDED_BY(mutex_);
};

// The memory of one read: segments side by side in slabs, which live until the
// last segment in them is let go of.  Not thread-safe.
class SegmentMemory {
 public:
  explicit SegmentMemory(std::shared_ptr<SlabPool> pool)
      : pool_(std::move(pool)) {}

  // Aligned as tiles are read; null if there is no memory.
  std::shared_ptr<std::byte[]> Allocate(size_t bytes);

 private:
  const std::shared_ptr<SlabPool> pool_;
  std::shared_ptr<const SlabPool::Slab> slab_;
  size_t used_ = 0;  // of the slab
};

}  // namespace winnow
