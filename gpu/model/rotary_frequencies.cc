#include "gpu/model/rotary_frequencies.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace winnow {
namespace {

// transformers, _compute_llama3_parameters: frequencies whose wavelength is
// below original / high stay, those above original / low are divided, and
// between the two a linear ramp joins them.
double ScaleLlama3(const RotaryParameters& parameters, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double turns = parameters.original_context / wavelength;
  if (turns > parameters.high_freq_factor) {
    return frequency;
  }
  if (turns < parameters.low_freq_factor) {
    return frequency / parameters.factor;
  }
  const double smooth =
      (turns - parameters.low_freq_factor) /
      (parameters.high_freq_factor - parameters.low_freq_factor);
  return (1 - smooth) * frequency / parameters.factor + smooth * frequency;
}

std::string DescribeScaling(const RotaryParameters& parameters) {
  switch (parameters.scaling) {
    case RotaryScaling::kNone:
      return "none";
    case RotaryScaling::kLinear:
      return absl::StrFormat("linear(%.17g)", parameters.factor);
    case RotaryScaling::kLlama3:
      return absl::StrFormat(
          "llama3(factor=%.17g,low=%.17g,high=%.17g,original=%.17g)",
          parameters.factor, parameters.low_freq_factor,
          parameters.high_freq_factor, parameters.original_context);
    case RotaryScaling::kFactors:
      return absl::StrCat("factors(",
                          absl::StrJoin(parameters.factors, ",",
                                        [](std::string* out, float factor) {
                                          absl::StrAppendFormat(out, "%.9g",
                                                                factor);
                                        }),
                          ")");
  }
  return "";
}

}  // namespace

std::vector<float> InverseFrequencies(const RotaryParameters& parameters) {
  const int pairs = parameters.head_dim / 2;
  assert(parameters.scaling != RotaryScaling::kFactors ||
         parameters.factors.size() == static_cast<size_t>(pairs));
  std::vector<float> frequencies;
  for (int i = 0; i < pairs; ++i) {
    double frequency =
        std::pow(parameters.theta, -2.0 * i / parameters.head_dim);
    if (parameters.scaling == RotaryScaling::kLinear) {
      frequency /= parameters.factor;
    } else if (parameters.scaling == RotaryScaling::kLlama3) {
      frequency = ScaleLlama3(parameters, frequency);
    } else if (parameters.scaling == RotaryScaling::kFactors) {
      frequency /= static_cast<double>(parameters.factors[i]);
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

std::string DescribeRotary(const RotaryParameters& parameters) {
  return absl::StrCat(
      absl::StrFormat("theta=%.17g scaling=", parameters.theta),
      DescribeScaling(parameters), " pairs=",
      parameters.pairs == RotaryPairs::kHalves ? "halves" : "interleaved");
}

absl::Status SetRotary(const RotaryParameters& parameters, ModelConfig& model) {
  model.rotary_pairs = parameters.pairs;
  model.inverse_frequencies = InverseFrequencies(parameters);
  model.rotary_description = DescribeRotary(parameters);
  if (!std::ranges::all_of(model.inverse_frequencies,
                           [](float value) { return std::isfinite(value); })) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model's rotary parameters are out of range: ",
                     model.rotary_description));
  }
  return absl::OkStatus();
}

}  // namespace winnow
