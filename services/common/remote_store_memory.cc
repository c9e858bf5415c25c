#include "services/common/remote_store_memory.h"

#include <cstdlib>

namespace winnow {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

std::shared_ptr<std::byte[]> AllocateSegment(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  auto* const memory =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) {
    return nullptr;
  }
  return {memory, [](std::byte* freed) { std::free(freed); }};
}

}  // namespace winnow
