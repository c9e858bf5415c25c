#include "gpu/cpu/linear.h"

#include <algorithm>

#include "gpu/base/status.h"
#include "gpu/check_arguments.h"
#include "gpu/cpu/dequantize.h"
#include "gpu/cpu/float_dot.h"
#include "gpu/cpu/int8_dot.h"

namespace winnow {
namespace {

// Pieces handed to threads: large enough to stream, small enough to balance.
constexpr int64_t kPieceBytes = int64_t{32} << 10;

int64_t PieceRows(const WeightView& weight) {
  const auto row_bytes = static_cast<int64_t>(weight.RowBytes());
  return std::max<int64_t>(1, kPieceBytes / row_bytes);
}

// Calls body(first_row, last_row, thread) for pieces that cover the matrix.
template <typename Body>
void ForRowPieces(ThreadPool& pool, const WeightView& weight, Body body) {
  const int64_t piece_rows = PieceRows(weight);
  const int64_t pieces = (weight.rows + piece_rows - 1) / piece_rows;
  pool.ParallelFor(pieces, [&](int64_t piece, int thread) {
    const int64_t first = piece * piece_rows;
    body(first, std::min(first + piece_rows, weight.rows), thread);
  });
}

}  // namespace

CpuLinear::CpuLinear(ThreadPool& pool, CpuLevel level, Numerics numerics)
    : pool_(pool),
      level_(level),
      numerics_(numerics),
      gemm_(pool, level, numerics),
      rows_(static_cast<size_t>(pool.num_threads())) {}

absl::Status CpuLinear::Linear(const LinearArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  if (args.num_tokens > kMaxDotTokens) {
    return gemm_.Linear(args);
  }
  if (numerics_ == Numerics::kFast &&
      SelectInt8Dot(args.weight.type, level_) != nullptr) {
    IntegerDots(args);
  } else {
    FloatDots(args);
  }
  return absl::OkStatus();
}

void CpuLinear::IntegerDots(const LinearArgs& args) {
  const int64_t cols = args.weight.cols;
  const int64_t groups = Int8GroupCount(cols);
  groups_.resize(static_cast<size_t>(groups * args.num_tokens));
  for (int64_t token = 0; token < args.num_tokens; ++token) {
    QuantizeInt8(args.input + token * cols, cols,
                 groups_.data() + token * groups);
  }
  const Int8Dot dot = SelectInt8Dot(args.weight.type, level_);
  ForRowPieces(pool_, args.weight, [&](int64_t first, int64_t last, int) {
    dot({.weight = args.weight,
         .first_row = first,
         .last_row = last,
         .input = groups_.data(),
         .num_tokens = args.num_tokens,
         .bias = args.bias,
         .output = args.output,
         .accumulate = args.accumulate});
  });
}

void CpuLinear::FloatDots(const LinearArgs& args) {
  ForRowPieces(
      pool_, args.weight, [&](int64_t first, int64_t last, int thread) {
        std::vector<float>& weights = rows_[static_cast<size_t>(thread)];
        weights.resize(static_cast<size_t>(args.weight.cols));
        for (int64_t row = first; row < last; ++row) {
          FloatDotRow(args, row, weights.data());
        }
      });
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
  const int64_t cols = args.weight.cols;
  pool_.ParallelFor(static_cast<int64_t>(args.ids.size()), [&](int64_t i, int) {
    DequantizeToFloat(args.weight.type,
                      args.weight.Row(args.ids[static_cast<size_t>(i)]), cols,
                      args.output + i * cols);
  });
  return absl::OkStatus();
}

}  // namespace winnow
