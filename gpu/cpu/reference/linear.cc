#include "gpu/cpu/reference/linear.h"

#include <vector>

#include "gpu/base/status.h"
#include "gpu/check_arguments.h"

namespace winnow {

namespace {

absl::Status CheckInRows(const WeightView& weight) {
  return weight.layout == WeightLayout::kRows
             ? absl::OkStatus()
             : absl::InvalidArgumentError(
                   "weight.layout is that of another backend");
}

absl::Status Multiply(const LinearArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  WINNOW_RETURN_IF_ERROR(CheckInRows(args.weight));
  const int64_t rows = args.weight.rows;
  const int64_t cols = args.weight.cols;
  std::vector<float> weights(static_cast<size_t>(cols));
  for (int64_t row = 0; row < rows; ++row) {
    Dequantize(args.weight.type, args.weight.Row(row), cols, weights.data());
    for (int64_t token = 0; token < args.num_tokens; ++token) {
      const float* input = args.input + token * cols;
      double sum = 0;
      for (int64_t col = 0; col < cols; ++col) {
        sum += double{input[col]} * weights[static_cast<size_t>(col)];
      }
      float result = static_cast<float>(sum);
      if (args.bias != nullptr) {
        result += args.bias[row];
      }
      float& output = args.output[token * rows + row];
      output = args.accumulate ? output + result : result;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReferenceLinear::LinearAll(std::span<const LinearArgs> products) {
  for (const LinearArgs& args : products) {
    WINNOW_RETURN_IF_ERROR(Multiply(args));
  }
  return absl::OkStatus();
}

absl::Status ReferenceLinear::Embed(const EmbedArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  WINNOW_RETURN_IF_ERROR(CheckInRows(args.weight));
  float* output = args.output;
  for (const int32_t id : args.ids) {
    Dequantize(args.weight.type, args.weight.Row(id), args.weight.cols, output);
    output += args.weight.cols;
  }
  return absl::OkStatus();
}

}  // namespace winnow
