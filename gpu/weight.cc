#include "gpu/weight.h"

#include <array>
#include <cassert>
#include <cstring>

#include "gpu/base/bfloat16.h"
#include "gpu/float16.h"
#include "gpu/weight_k_quants.h"

// Block formats of 32 weights, little-endian.  `d` and `m` are binary16;
// element i < 16 has the low nibble of qs[i], element 16 + i the high one.
//
//   Q8_0 := d qs:i8[32]                  weight = d * q
//   Q4_0 := d qs:u4[32]                  weight = d * (q - 8)
//   Q4_1 := d m qs:u4[32]                weight = d * q + m
//   Q5_0 := d qh:u32 qs:u4[32]           weight = d * ((q | bit << 4) - 16)
//   Q5_1 := d m qh:u32 qs:u4[32]         weight = d * (q | bit << 4) + m
//
// Golden values: tests/golden/weights.

namespace winnow {
namespace {

constexpr std::array<WeightBlock, kNumWeightTypes> kBlocks = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"Q8_0", 32, 34},
    {"Q4_0", 32, 18},
    {"Q4_1", 32, 20},
    {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},
    {"Q4_K", 256, 144},
    {"Q5_K", 256, 176},
    {"Q6_K", 256, 210},
}};

float ReadHalf(const std::byte* bytes) { return HalfToFloat(ReadU16(bytes)); }

void DequantizeF16(const std::byte* block, float* output) {
  *output = ReadHalf(block);
}

void DequantizeBF16(const std::byte* block, float* output) {
  *output = FromBfloat16(ReadU16(block));
}

void DequantizeQ8_0(const std::byte* block, float* output) {
  const float scale = ReadHalf(block);
  for (int i = 0; i < 32; ++i) {
    output[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

// `quants` are 16 bytes of nibbles; bit i of `high_bits` is the fifth bit of
// element i.
void ExpandNibbles(const std::byte* quants, uint32_t high_bits, int offset,
                   float scale, float minimum, float* output) {
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(quants[i]);
    const auto fifth_low = static_cast<int>(high_bits >> i & 1);
    const auto fifth_high = static_cast<int>(high_bits >> (i + 16) & 1);
    const int low = (byte & 15) | fifth_low << 4;
    const int high = byte >> 4 | fifth_high << 4;
    output[i] = scale * static_cast<float>(low - offset) + minimum;
    output[i + 16] = scale * static_cast<float>(high - offset) + minimum;
  }
}

void DequantizeQ4_0(const std::byte* block, float* output) {
  ExpandNibbles(block + 2, 0, 8, ReadHalf(block), 0, output);
}

void DequantizeQ4_1(const std::byte* block, float* output) {
  ExpandNibbles(block + 4, 0, 0, ReadHalf(block), ReadHalf(block + 2), output);
}

uint32_t ReadU32(const std::byte* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

void DequantizeQ5_0(const std::byte* block, float* output) {
  ExpandNibbles(block + 6, ReadU32(block + 2), 16, ReadHalf(block), 0, output);
}

void DequantizeQ5_1(const std::byte* block, float* output) {
  ExpandNibbles(block + 8, ReadU32(block + 4), 0, ReadHalf(block),
                ReadHalf(block + 2), output);
}

using BlockFunction = void (*)(const std::byte* block, float* output);

BlockFunction FunctionOf(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return nullptr;  // copied as it is
    case WeightType::kF16:
      return DequantizeF16;
    case WeightType::kBF16:
      return DequantizeBF16;
    case WeightType::kQ8_0:
      return DequantizeQ8_0;
    case WeightType::kQ4_0:
      return DequantizeQ4_0;
    case WeightType::kQ4_1:
      return DequantizeQ4_1;
    case WeightType::kQ5_0:
      return DequantizeQ5_0;
    case WeightType::kQ5_1:
      return DequantizeQ5_1;
    case WeightType::kQ4_K:
      return DequantizeQ4K;
    case WeightType::kQ5_K:
      return DequantizeQ5K;
    case WeightType::kQ6_K:
      return DequantizeQ6K;
  }
  return nullptr;
}

}  // namespace

const WeightBlock& GetWeightBlock(WeightType type) {
  return kBlocks[static_cast<size_t>(type)];
}

size_t WeightView::RowBytes() const {
  const WeightBlock& block = GetWeightBlock(type);
  return static_cast<size_t>(cols / block.elements) * block.bytes;
}

size_t WeightView::Bytes() const {
  const int64_t held = layout == WeightLayout::kPanels
                           ? (rows + kPanelRows - 1) / kPanelRows * kPanelRows
                           : rows;
  return RowBytes() * static_cast<size_t>(held);
}

void Dequantize(WeightType type, const std::byte* blocks, int64_t count,
                float* output) {
  const WeightBlock& block = GetWeightBlock(type);
  assert(count % block.elements == 0);
  if (type == WeightType::kF32) {
    std::memcpy(output, blocks, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const BlockFunction expand = FunctionOf(type);
  for (int64_t i = 0; i < count; i += block.elements) {
    expand(blocks, output + i);
    blocks += block.bytes;
  }
}

}  // namespace winnow
