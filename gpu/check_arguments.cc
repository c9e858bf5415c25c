#include "gpu/check_arguments.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckWeight(const WeightView& weight) {
  if (weight.data == nullptr) {
    return Invalid("weight.data is null");
  }
  if (weight.rows < 1) {
    return Invalid("weight.rows is ", weight.rows, ", must be at least 1");
  }
  const WeightBlock& block = GetWeightBlock(weight.type);
  if (weight.cols < 1 || weight.cols % block.elements != 0) {
    return Invalid("weight.cols is ", weight.cols,
                   ", must be a positive multiple of ", block.elements, " for ",
                   std::string(block.name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckArguments(const LinearArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckWeight(args.weight));
  if (args.num_tokens < 1) {
    return Invalid("num_tokens is ", args.num_tokens, ", must be at least 1");
  }
  if (args.input == nullptr) {
    return Invalid("input is null");
  }
  if (args.output == nullptr) {
    return Invalid("output is null");
  }
  if (args.input == args.output) {
    return Invalid("output is the input");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const EmbedArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckWeight(args.weight));
  if (args.output == nullptr && !args.ids.empty()) {
    return Invalid("output is null");
  }
  for (size_t i = 0; i < args.ids.size(); ++i) {
    if (args.ids[i] < 0 || args.ids[i] >= args.weight.rows) {
      return Invalid("ids[", i, "] is ", args.ids[i],
                     ", outside of a vocabulary of ", args.weight.rows);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const RmsNormArgs& args) {
  if (args.rows < 0) {
    return Invalid("rows is ", args.rows);
  }
  if (args.cols < 1) {
    return Invalid("cols is ", args.cols, ", must be at least 1");
  }
  if (!(args.epsilon >= 0)) {
    return Invalid("epsilon is ", args.epsilon, ", must not be negative");
  }
  if (args.input == nullptr || args.scale == nullptr ||
      args.output == nullptr) {
    return Invalid("input, scale or output is null");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const RotaryArgs& args) {
  if (args.num_heads < 1) {
    return Invalid("num_heads is ", args.num_heads, ", must be at least 1");
  }
  if (args.head_dim < 2 || args.head_dim % 2 != 0) {
    return Invalid("head_dim is ", args.head_dim,
                   ", must be even and positive");
  }
  if (args.inverse_frequencies.size() !=
      static_cast<size_t>(args.head_dim / 2)) {
    return Invalid("inverse_frequencies holds ",
                   args.inverse_frequencies.size(), " values, must hold ",
                   args.head_dim / 2, ", half of head_dim");
  }
  if (args.heads == nullptr && !args.positions.empty()) {
    return Invalid("heads is null");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const SiluMulArgs& args) {
  if (args.count < 0) {
    return Invalid("count is ", args.count);
  }
  if (args.count > 0 &&
      (args.gate == nullptr || args.up == nullptr || args.output == nullptr)) {
    return Invalid("gate, up or output is null");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const TopLogitsArgs& args) {
  if (args.logits.empty()) {
    return Invalid("logits is empty");
  }
  if (args.ids.size() > args.logits.size()) {
    return Invalid("ids asks for ", args.ids.size(), " of ", args.logits.size(),
                   " logits");
  }
  if (args.values.size() != args.ids.size()) {
    return Invalid("values holds ", args.values.size(), " entries, ids ",
                   args.ids.size());
  }
  if (args.log_sum_exp == nullptr) {
    return Invalid("log_sum_exp is null");
  }
  return absl::OkStatus();
}

}  // namespace winnow
