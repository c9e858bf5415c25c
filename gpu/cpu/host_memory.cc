#include "gpu/cpu/host_memory.h"

#include <cstdint>
#include <limits>

#include <sys/mman.h>

#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

size_t MappedBytes(size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

absl::StatusOr<void*> AllocateHostMemory(size_t bytes) {
  if (bytes == 0) {
    return nullptr;
  }
  const bool huge = bytes >= kHugePageBytes;
  const size_t slack = huge ? kHugePageBytes : 0;
  void* mapping = MAP_FAILED;
  if (bytes <= std::numeric_limits<size_t>::max() / 2) {
    mapping = mmap(nullptr, MappedBytes(bytes) + slack, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (mapping == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a buffer of ", bytes, " bytes"));
  }
  if (!huge) {
    return mapping;
  }
  // Cut the ends off so that the buffer starts on a huge page.
  auto* begin = static_cast<std::byte*>(mapping);
  const size_t past = reinterpret_cast<uintptr_t>(begin) % kHugePageBytes;
  const size_t before = past == 0 ? 0 : kHugePageBytes - past;
  if (before > 0) {
    munmap(begin, before);
  }
  munmap(begin + before + MappedBytes(bytes), slack - before);
  madvise(begin + before, MappedBytes(bytes), MADV_HUGEPAGE);
  return begin + before;
}

void FreeHostMemory(void* address, size_t bytes) {
  if (address != nullptr) {
    munmap(address, MappedBytes(bytes));
  }
}

}  // namespace winnow
