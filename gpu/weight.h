#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace winnow {

// Storage of a weight matrix.  The block formats are those of GGUF (ggml):
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
enum class WeightType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
inline constexpr int kNumWeightTypes = 11;

// Shape of the repeating unit of a weight type.
struct WeightBlock {
  std::string_view name;  // "Q4_1"
  int elements = 1;       // weights per block, along a row
  size_t bytes = 0;       // stored bytes per block
};

// The block of `type`.
const WeightBlock& GetWeightBlock(WeightType type);

// Rows of a panel.
inline constexpr int kPanelRows = 16;

// How the blocks of a matrix lie.
enum class WeightLayout : uint8_t {
  kRows,    // row-major, each row a run of whole blocks: as files have them
  kPanels,  // kPanelRows rows side by side: the CPU backend's own
            // (gpu/cpu/weight_panels.h), of no use to another
};

// A borrowed matrix [rows, cols].  `data` outlives the view's users; it need
// not be aligned.
struct WeightView {
  WeightType type = WeightType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0;  // output features
  int64_t cols = 0;  // input features; a multiple of the block's elements
  WeightLayout layout = WeightLayout::kRows;

  size_t RowBytes() const;
  size_t Bytes() const;
  // Of kRows.
  const std::byte* Row(int64_t row) const {
    return data + static_cast<size_t>(row) * RowBytes();
  }
  // Of kPanels: the kPanelRows rows from kPanelRows * panel on.
  const std::byte* Panel(int64_t panel) const {
    return data + static_cast<size_t>(panel) * RowBytes() * kPanelRows;
  }
};

// Expands `count` weights, a multiple of the block's elements, starting at
// `blocks`, to float32.  The plain, portable definition of every format; the
// golden values are those of the PyPI package `gguf`.
void Dequantize(WeightType type, const std::byte* blocks, int64_t count,
                float* output);

}  // namespace winnow
