#pragma once

#include <cstddef>
#include <memory>

namespace winnow {

// Memory of this process for one segment, aligned as tiles are read; null if
// there is none.
std::shared_ptr<std::byte[]> AllocateSegment(size_t bytes);

}  // namespace winnow
