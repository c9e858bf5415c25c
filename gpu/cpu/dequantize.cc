#include "gpu/cpu/dequantize.h"

#include <algorithm>

#include "gpu/cpu/dequantize_kernels.h"

namespace winnow {

void DequantizeToFloat(WeightType type, const std::byte* blocks, int64_t count,
                       float* output) {
  if (const auto dequantize = SelectDequantizeAvx2(type)) {
    dequantize(blocks, count, output);
  } else {
    Dequantize(type, blocks, count, output);
  }
}

void DequantizeToBfloat16(WeightType type, const std::byte* blocks,
                          int64_t count, uint16_t* output) {
  if (const auto dequantize = SelectDequantizeAvx512Bf16(type)) {
    dequantize(blocks, count, output);
    return;
  }
  const WeightBlock& block = GetWeightBlock(type);
  constexpr int64_t kPiece = 1024;  // whole blocks of every type
  float piece[kPiece];
  for (int64_t done = 0; done < count; done += kPiece) {
    const int64_t size = std::min(kPiece, count - done);
    const auto offset =
        static_cast<size_t>(done / block.elements) * block.bytes;
    DequantizeToFloat(type, blocks + offset, size, piece);
    RoundToBfloat16(piece, size, output + done);
  }
}

}  // namespace winnow
