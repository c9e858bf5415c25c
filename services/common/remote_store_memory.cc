#include "services/common/remote_store_memory.h"

#include <algorithm>
#include <utility>

#include <sys/mman.h>

namespace winnow {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

SlabPool::Slab Map(size_t bytes) {
  void* const begin = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) {
    return {};
  }
  madvise(begin, bytes, MADV_HUGEPAGE);  // works without, only slower
  return {.begin = static_cast<std::byte*>(begin), .bytes = bytes};
}

}  // namespace

std::shared_ptr<SlabPool> SlabPool::Create() {
  return std::shared_ptr<SlabPool>(new SlabPool);
}

SlabPool::~SlabPool() {
  for (const Slab& slab : kept_) {
    munmap(slab.begin, slab.bytes);
  }
}

std::shared_ptr<const SlabPool::Slab> SlabPool::Take(size_t bytes) {
  Slab slab;
  if (bytes <= kSlabBytes) {
    const MutexLock lock(mutex_);
    if (!kept_.empty()) {
      slab = kept_.back();
      kept_.pop_back();
    }
  }
  if (slab.begin == nullptr) {
    slab = Map(std::max(kSlabBytes, RoundUp(bytes, kHugePage)));
  }
  if (slab.begin == nullptr) {
    return nullptr;
  }
  return {new Slab(slab), [pool = weak_from_this()](const Slab* ended) {
            if (const auto alive = pool.lock()) {
              alive->GiveBack(*ended);
            } else {
              munmap(ended->begin, ended->bytes);
            }
            delete ended;
          }};
}

void SlabPool::GiveBack(const Slab& slab) {
  {
    const MutexLock lock(mutex_);
    if (slab.bytes == kSlabBytes && kept_.size() < kKeptSlabs) {
      kept_.push_back(slab);
      return;
    }
  }
  munmap(slab.begin, slab.bytes);
}

std::shared_ptr<std::byte[]> SegmentMemory::Allocate(size_t bytes) {
  const size_t rounded = RoundUp(bytes, kAlignment);
  if (slab_ == nullptr || slab_->bytes - used_ < rounded) {
    slab_ = pool_->Take(rounded);
    used_ = 0;
    if (slab_ == nullptr) {
      return nullptr;
    }
  }
  std::byte* const begin = slab_->begin + used_;
  used_ += rounded;
  return {slab_, begin};
}

}  // namespace winnow
