#include "gpu/cpu/weight_panels.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace winnow {
namespace {

constexpr size_t kMaxBlockBytes = 34;

// Where a block of a row, as GGUF has it, keeps its parts.
struct RowFormat {
  explicit RowFormat(const PanelFormat& format)
      : high_at(2 + (format.minimum ? 2 : 0)),
        quants_at(high_at + (format.bits == 5 ? 4 : 0)) {}

  size_t high_at;
  size_t quants_at;
};

// Moves `bytes` between the two forms of a block.
void Move(bool pack, std::byte* in_row, std::byte* in_panel, size_t bytes) {
  std::memcpy(pack ? in_panel : in_row, pack ? in_row : in_panel, bytes);
}

void PackHighBits(const std::byte* in_row, int lane, std::byte* masks) {
  uint32_t high;
  std::memcpy(&high, in_row, sizeof(high));
  for (int part = 0; part < 8; ++part) {
    uint64_t mask;
    std::memcpy(&mask, masks + part * sizeof(mask), sizeof(mask));
    const int first_value = 16 * (part % 2) + 4 * (part / 2);
    mask |= uint64_t{high >> first_value & 15} << (4 * lane);
    std::memcpy(masks + part * sizeof(mask), &mask, sizeof(mask));
  }
}

void UnpackHighBits(const std::byte* masks, int lane, std::byte* in_row) {
  uint32_t high = 0;
  for (int part = 0; part < 8; ++part) {
    uint64_t mask;
    std::memcpy(&mask, masks + part * sizeof(mask), sizeof(mask));
    const int first_value = 16 * (part % 2) + 4 * (part / 2);
    high |= static_cast<uint32_t>(mask >> (4 * lane) & 15) << first_value;
  }
  std::memcpy(in_row, &high, sizeof(high));
}

// Copies lane `lane` of a panel's block to or from a block of a row; high bits
// of a panel must be zero before they are packed.
void MoveLane(const PanelFormat& format, bool pack, int lane, std::byte* in_row,
              std::byte* in_panel) {
  const RowFormat row(format);
  const size_t half = size_t{2} * static_cast<size_t>(lane);
  Move(pack, in_row, in_panel + half, 2);
  if (format.minimum) {
    Move(pack, in_row + 2, in_panel + format.MinimumAt() + half, 2);
  }
  if (format.bits == 5 && pack) {
    PackHighBits(in_row + row.high_at, lane, in_panel + format.HighAt());
  } else if (format.bits == 5) {
    UnpackHighBits(in_panel + format.HighAt(), lane, in_row + row.high_at);
  }
  for (int quarter = 0; quarter < format.Quarters(); ++quarter) {
    Move(pack, in_row + row.quants_at + size_t{4} * quarter,
         in_panel + format.QuantsAt() +
             size_t{4} * (kPanelRows * quarter + lane),
         4);
  }
}

// Signed bytes to unsigned ones, or back.
void FlipSigns(std::byte* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    bytes[i] ^= std::byte{128};
  }
}

void PackPanel(const WeightView& rows, const PanelFormat& format, int64_t panel,
               std::byte* output) {
  const size_t row_block_bytes = GetWeightBlock(rows.type).bytes;
  const int64_t blocks = rows.cols / kPanelBlockValues;
  const int64_t first_row = panel * kPanelRows;
  const int lanes =
      static_cast<int>(std::min<int64_t>(kPanelRows, rows.rows - first_row));
  std::byte copy[kMaxBlockBytes];
  for (int64_t block = 0; block < blocks; ++block) {
    std::memset(output, 0, format.Bytes());
    for (int lane = 0; lane < lanes; ++lane) {
      std::memcpy(copy,
                  rows.Row(first_row + lane) +
                      static_cast<size_t>(block) * row_block_bytes,
                  row_block_bytes);
      MoveLane(format, /*pack=*/true, lane, copy, output);
    }
    if (format.bits == 8) {
      FlipSigns(output + format.QuantsAt(), format.Bytes() - format.QuantsAt());
    }
    output += format.Bytes();
  }
}

}  // namespace

std::optional<PanelFormat> FindPanelFormat(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
      return kPanelQ40;
    case WeightType::kQ4_1:
      return kPanelQ41;
    case WeightType::kQ5_0:
      return kPanelQ50;
    case WeightType::kQ5_1:
      return kPanelQ51;
    case WeightType::kQ8_0:
      return kPanelQ80;
    default:
      return std::nullopt;
  }
}

void PackPanels(const WeightView& rows, int64_t first, int64_t last,
                std::byte* panels) {
  const auto format = FindPanelFormat(rows.type);
  assert(format.has_value() && rows.layout == WeightLayout::kRows);
  const size_t panel_bytes = rows.RowBytes() * kPanelRows;
  for (int64_t panel = first; panel < last; ++panel) {
    PackPanel(rows, *format, panel,
              panels + static_cast<size_t>(panel) * panel_bytes);
  }
}

void DequantizePanelRow(const WeightView& panels, int64_t row, float* output) {
  const auto format = FindPanelFormat(panels.type);
  assert(format.has_value() && panels.layout == WeightLayout::kPanels);
  const int64_t blocks = panels.cols / kPanelBlockValues;
  const int lane = static_cast<int>(row % kPanelRows);
  const std::byte* block = panels.Panel(row / kPanelRows);
  std::byte in_panel[kPanelQ80.Bytes()];
  std::byte in_row[kMaxBlockBytes];
  for (int64_t i = 0; i < blocks; ++i) {
    std::memcpy(in_panel, block, format->Bytes());
    if (format->bits == 8) {
      FlipSigns(in_panel + format->QuantsAt(),
                format->Bytes() - format->QuantsAt());
    }
    MoveLane(*format, /*pack=*/false, lane, in_row, in_panel);
    Dequantize(panels.type, in_row, kPanelBlockValues,
               output + i * kPanelBlockValues);
    block += format->Bytes();
  }
}

}  // namespace winnow
