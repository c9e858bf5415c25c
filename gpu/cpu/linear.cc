#include "gpu/cpu/linear.h"

#include <algorithm>

#include "gpu/base/status.h"
#include "gpu/check_arguments.h"
#include "gpu/cpu/dequantize.h"
#include "gpu/cpu/float_dot.h"
#include "gpu/cpu/panel_dot.h"
#include "gpu/cpu/weight_panels.h"

namespace winnow {
namespace {

// Pieces handed to threads: large enough to stream, small enough to balance.
constexpr int64_t kPieceBytes = int64_t{32} << 10;
// Tokens whose input a thread rounds at a time.
constexpr int kRoundedTokens = 16;
// Panels made by a thread at a time.
constexpr int64_t kPackedPanels = 16;

// Whole panels, whatever the layout.
int64_t PieceRows(const WeightView& weight) {
  const auto panel_bytes = static_cast<int64_t>(weight.RowBytes()) * kPanelRows;
  return std::max<int64_t>(1, kPieceBytes / panel_bytes) * kPanelRows;
}

bool SharesInput(const LinearArgs& a, const LinearArgs& b) {
  return a.input == b.input && a.weight.cols == b.weight.cols &&
         a.num_tokens == b.num_tokens;
}

}  // namespace

CpuLinear::CpuLinear(ThreadPool& pool, CpuLevel level, Numerics numerics)
    : pool_(pool),
      level_(level),
      numerics_(numerics),
      gemm_(pool, level, numerics),
      tile_gemm_(pool),
      rows_(static_cast<size_t>(pool.num_threads())) {}

bool CpuLinear::UsesPanels() const {
  return numerics_ == Numerics::kFast && level_ >= CpuLevel::kAvx512;
}

absl::Status CpuLinear::CheckLayout(const WeightView& weight) const {
  if (weight.layout == WeightLayout::kRows || UsesPanels()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("weight.layout is that of another backend");
}

size_t CpuLinear::ResidentBytes(const WeightView& weight) const {
  if (!UsesPanels() || weight.layout == WeightLayout::kPanels ||
      !FindPanelFormat(weight.type)) {
    return 0;
  }
  WeightView panels = weight;
  panels.layout = WeightLayout::kPanels;
  return panels.Bytes();
}

WeightView CpuLinear::MakeResident(const WeightView& weight,
                                   std::byte* memory) {
  if (ResidentBytes(weight) == 0) {
    return weight;
  }
  const int64_t panels = (weight.rows + kPanelRows - 1) / kPanelRows;
  pool_.ParallelFor(
      (panels + kPackedPanels - 1) / kPackedPanels, [&](int64_t i, int) {
        PackPanels(weight, i * kPackedPanels,
                   std::min((i + 1) * kPackedPanels, panels), memory);
      });
  return {.type = weight.type,
          .data = memory,
          .rows = weight.rows,
          .cols = weight.cols,
          .layout = WeightLayout::kPanels};
}

absl::Status CpuLinear::LinearAll(std::span<const LinearArgs> products) {
  bool few = true;
  for (const LinearArgs& args : products) {
    WINNOW_RETURN_IF_ERROR(CheckArguments(args));
    WINNOW_RETURN_IF_ERROR(CheckLayout(args.weight));
    few = few && AreFew(args);
  }
  if (!few) {
    return LinearOfMany(products);
  }
  RoundInputs(products);
  PlanPieces(products);
  pool_.ParallelFor(std::ssize(pieces_), [&](int64_t i, int thread) {
    RunPiece(pieces_[static_cast<size_t>(i)], thread);
  });
  return absl::OkStatus();
}

bool CpuLinear::AreFew(const LinearArgs& args) const {
  if (args.weight.layout == WeightLayout::kRows) {
    return args.num_tokens <= kMaxDotTokens;
  }
  return level_ < CpuLevel::kAmx || args.num_tokens <= kMaxPanelDotTokens;
}

// Not all of them are few.
absl::Status CpuLinear::LinearOfMany(std::span<const LinearArgs> products) {
  const auto uses_tiles = [this](const LinearArgs& args) {
    return args.weight.layout == WeightLayout::kPanels && !AreFew(args);
  };
  while (!products.empty()) {
    const LinearArgs& args = products.front();
    size_t count = 1;
    if (uses_tiles(args)) {
      while (count < products.size() && uses_tiles(products[count]) &&
             SharesInput(args, products[count])) {
        ++count;
      }
      tile_gemm_.LinearAll(products.first(count));
    } else {
      WINNOW_RETURN_IF_ERROR(AreFew(args) ? Linear(args) : gemm_.Linear(args));
    }
    products = products.subspan(count);
  }
  return absl::OkStatus();
}

bool CpuLinear::UsesIntegers(const WeightView& weight) const {
  return numerics_ == Numerics::kFast && SelectInt8Dot(weight.type) != nullptr;
}

// An input that several products share, one after the other, is rounded once.
void CpuLinear::RoundInputs(std::span<const LinearArgs> products) {
  first_blocks_.resize(products.size());
  size_t used = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const LinearArgs& args = products[i];
    if (!UsesIntegers(args.weight)) {
      continue;
    }
    if (i > 0 && SharesInput(args, products[i - 1]) &&
        UsesIntegers(products[i - 1].weight)) {
      first_blocks_[i] = first_blocks_[i - 1];
      continue;
    }
    const int64_t cols = args.weight.cols;
    const auto blocks = static_cast<size_t>(cols / kInt8BlockValues);
    first_blocks_[i] = used;
    used += blocks * static_cast<size_t>(args.num_tokens);
    blocks_.resize(std::max(blocks_.size(), used));
    RoundInput(args, &blocks_[first_blocks_[i]]);
  }
}

void CpuLinear::RoundInput(const LinearArgs& args, Int8Block* blocks) {
  const int64_t cols = args.weight.cols;
  // A few are done before another thread would wake.
  const int64_t tokens_a_piece = std::min(args.num_tokens, kRoundedTokens);
  pool_.ParallelFor(
      (args.num_tokens + tokens_a_piece - 1) / tokens_a_piece,
      [&](int64_t piece, int) {
        const int64_t first = piece * tokens_a_piece;
        const int64_t last =
            std::min<int64_t>(first + tokens_a_piece, args.num_tokens);
        for (int64_t token = first; token < last; ++token) {
          QuantizeInt8(args.input + token * cols, cols,
                       blocks + token * (cols / kInt8BlockValues));
        }
      });
}

void CpuLinear::PlanPieces(std::span<const LinearArgs> products) {
  pieces_.clear();
  for (size_t i = 0; i < products.size(); ++i) {
    const LinearArgs& args = products[i];
    const int64_t rows = PieceRows(args.weight);
    for (int64_t first = 0; first < args.weight.rows; first += rows) {
      pieces_.push_back({.product = &args,
                         .input = UsesIntegers(args.weight)
                                      ? &blocks_[first_blocks_[i]]
                                      : nullptr,
                         .first_row = first,
                         .last_row = std::min(first + rows, args.weight.rows)});
    }
  }
}

void CpuLinear::RunPiece(const Piece& piece, int thread) {
  const LinearArgs& args = *piece.product;
  if (piece.input != nullptr) {
    const auto dot = args.weight.layout == WeightLayout::kPanels
                         ? SelectPanelDot(args.weight.type)
                         : SelectInt8Dot(args.weight.type);
    dot({.weight = args.weight,
         .first_row = piece.first_row,
         .last_row = piece.last_row,
         .input = piece.input,
         .num_tokens = args.num_tokens,
         .bias = args.bias,
         .output = args.output,
         .accumulate = args.accumulate});
    return;
  }
  std::vector<float>& weights = rows_[static_cast<size_t>(thread)];
  weights.resize(static_cast<size_t>(args.weight.cols));
  for (int64_t row = piece.first_row; row < piece.last_row; ++row) {
    FloatDotRow(args, row, weights.data());
  }
}

void CpuLinear::FloatDotRow(const LinearArgs& args, int64_t row,
                            float* weights) const {
  const int64_t cols = args.weight.cols;
  DequantizeToFloat(args.weight.type, args.weight.Row(row), cols, weights);
  float sums[kMaxDotTokens];
  FloatDot(weights, cols, args.input, args.num_tokens, sums);
  const float bias = args.bias != nullptr ? args.bias[row] : 0.0f;
  for (int64_t token = 0; token < args.num_tokens; ++token) {
    float& output = args.output[token * args.weight.rows + row];
    const float result = sums[token] + bias;
    output = args.accumulate ? output + result : result;
  }
}

absl::Status CpuLinear::Embed(const EmbedArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  WINNOW_RETURN_IF_ERROR(CheckLayout(args.weight));
  const int64_t cols = args.weight.cols;
  pool_.ParallelFor(std::ssize(args.ids), [&](int64_t i, int) {
    const int64_t row = args.ids[static_cast<size_t>(i)];
    float* output = args.output + i * cols;
    if (args.weight.layout == WeightLayout::kPanels) {
      DequantizePanelRow(args.weight, row, output);
    } else {
      DequantizeToFloat(args.weight.type, args.weight.Row(row), cols, output);
    }
  });
  return absl::OkStatus();
}

}  // namespace winnow
