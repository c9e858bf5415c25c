#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/weight.h"

namespace winnow {

// Functions of one instruction set each; callers use gpu/cpu/dequantize.h.
// Null for the types that have none.
using DequantizeFloatFunction = void (*)(const std::byte* blocks, int64_t count,
                                         float* output);
using DequantizeBfloat16Function = void (*)(const std::byte* blocks,
                                            int64_t count, uint16_t* output);

DequantizeFloatFunction SelectDequantizeAvx2(WeightType type);
DequantizeBfloat16Function SelectDequantizeAvx512Bf16(WeightType type);

}  // namespace winnow
