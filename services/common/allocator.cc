#include "services/common/allocator.h"

#include <malloc.h>

namespace winnow {

void KeepLargeBlocks() {
  constexpr int kLargestBlock = 32 << 20;
  constexpr int kKeptHeap = 64 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargestBlock);
  mallopt(M_TRIM_THRESHOLD, kKeptHeap);
}

}  // namespace winnow
