#pragma once

#include <cstddef>

#include "absl/status/statusor.h"

namespace winnow {

// Zeroed memory straight from the kernel: 64-byte aligned, and from 2 MiB on
// aligned for, and advised to use, huge pages.  Null for 0 bytes.
// ResourceExhausted if it is not to be had.
absl::StatusOr<void*> AllocateHostMemory(size_t bytes);

// `bytes` as given to AllocateHostMemory.
void FreeHostMemory(void* address, size_t bytes);

}  // namespace winnow
