#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/cpu/cpu_backend.h"

namespace winnow {

// Reads every byte once, as fast as one thread can at this level, and returns
// the sum of its 64-bit words modulo 2^64: the roof of whatever reads memory.
// `bytes` is 64-byte aligned, and a multiple of kReadPiece long.
uint64_t SumWords(std::span<const std::byte> bytes, CpuLevel level);

inline constexpr size_t kReadPiece = 4096;

}  // namespace winnow
