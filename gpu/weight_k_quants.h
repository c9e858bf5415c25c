#pragma once

#include <cstddef>

namespace winnow {

// Expansion of one block of 256 weights of the k-quant formats.  Internal to
// Dequantize (gpu/weight.h).
void DequantizeQ4K(const std::byte* block, float* output);
void DequantizeQ5K(const std::byte* block, float* output);
void DequantizeQ6K(const std::byte* block, float* output);

}  // namespace winnow
