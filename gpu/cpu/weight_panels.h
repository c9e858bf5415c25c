#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "gpu/weight.h"

namespace winnow {

// Quantised weights as AVX-512 reads them: sixteen rows side by side, a row to
// a 32-bit lane, so that products need no horizontal sums.  Made once, when a
// model is loaded (LinearOps::MakeResident).
//
//   matrix := panel[ceil(rows / 16)]
//   panel  := block[cols / 32]
//   block  := scale:f16[16]               one a row
//             minimum:f16[16]             Q4_1 and Q5_1
//             high:u64[4][2]              Q5_0 and Q5_1
//             quants:u8[4][16][4]         4 and 5 bits
//                  | u8[8][16][4]         8 bits
//
// Byte i of row r in quarter j holds value 4 j + i in its low nibble and value
// 16 + 4 j + i in its high one, as in GGUF; bit 4 r + i of high[j][0] and
// high[j][1] are their fifth bits.  Bytes of 8 bits are value 4 j + i plus 128:
// the unsigned operand of VNNI.  Rows beyond the last are zero.  A panel is as
// long as its sixteen rows were.
inline constexpr int kPanelBlockValues = 32;

// What the blocks of a weight type hold.
struct PanelFormat {
  int bits = 4;          // 4, 5 or 8
  bool minimum = false;  // else weight = scale * (quant - offset)
  int offset = 0;        // of the quants as panels hold them

  constexpr size_t MinimumAt() const { return 2 * kPanelRows; }
  constexpr size_t HighAt() const {
    return MinimumAt() + (minimum ? 2 * kPanelRows : 0);
  }
  constexpr size_t QuantsAt() const {
    return HighAt() + (bits == 5 ? 8 * sizeof(uint64_t) : 0);
  }
  // 32-bit groups of quants a row has in a block.
  constexpr int Quarters() const { return bits == 8 ? 8 : 4; }
  constexpr size_t Bytes() const {
    return QuantsAt() + size_t{4} * kPanelRows * Quarters();
  }
};

inline constexpr PanelFormat kPanelQ40{.bits = 4, .offset = 8};
inline constexpr PanelFormat kPanelQ41{.bits = 4, .minimum = true};
inline constexpr PanelFormat kPanelQ50{.bits = 5, .offset = 16};
inline constexpr PanelFormat kPanelQ51{.bits = 5, .minimum = true};
inline constexpr PanelFormat kPanelQ80{.bits = 8, .offset = 128};

// Nothing for the types that stay in rows.
std::optional<PanelFormat> FindPanelFormat(WeightType type);

// Writes panels [first, last) of `rows`, a matrix in rows, to the places where
// they belong in `panels`, the memory of the whole matrix.
void PackPanels(const WeightView& rows, int64_t first, int64_t last,
                std::byte* panels);

// One row of a matrix in panels as float32, bit for bit what Dequantize of
// gpu/weight.h makes of it.
void DequantizePanelRow(const WeightView& panels, int64_t row, float* output);

// Blocks of a panel as integers of 15 bits in two planes of 8, a scale a row:
//
//   value k of row r ~ scales[r] * (128 * coarse + fine),
//   at [(k / 4 * kPanelRows + r) * 4 + k % 4] of either plane
//
// with k counted from block `first_block` on, for matrix units that take four
// bytes at a time.  The error is at most 2^-14.9 of the largest value that the
// row's blocks could hold.  Planes are 64-byte aligned.  Needs
// CpuLevel::kAvx512.
struct PanelPlanes {
  float* scales = nullptr;   // [kPanelRows]
  int8_t* coarse = nullptr;  // [32 * num_blocks * kPanelRows]
  int8_t* fine = nullptr;    // in [-64, 63]
};
void QuantizePanel(const WeightView& panels, int64_t panel, int64_t first_block,
                   int64_t num_blocks, const PanelPlanes& output);

}  // namespace winnow
