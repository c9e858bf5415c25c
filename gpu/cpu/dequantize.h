#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/weight.h"

namespace winnow {

// Dequantize of gpu/weight.h, bit for bit, with AVX2 for Q4_0, Q4_1, Q8_0, F16
// and BF16 and with that function for the other types.
void DequantizeToFloat(WeightType type, const std::byte* blocks, int64_t count,
                       float* output);

// The same, rounded to bfloat16 (to nearest, ties to even; denormals may
// become zero).  Needs CpuLevel::kAvx512Bf16.
void DequantizeToBfloat16(WeightType type, const std::byte* blocks,
                          int64_t count, uint16_t* output);

// Rounds `count` values likewise.  Needs CpuLevel::kAvx512Bf16.
void RoundToBfloat16(const float* input, int64_t count, uint16_t* output);

}  // namespace winnow
