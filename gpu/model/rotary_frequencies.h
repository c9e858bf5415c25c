#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "gpu/elementwise.h"
#include "gpu/model/model_config.h"

namespace winnow {

// How rotary angles are stretched for contexts longer than those of the first
// training.
enum class RotaryScaling : uint8_t {
  kNone,
  kLinear,   // every frequency divided by `factor`
  kLlama3,   // long wavelengths divided by `factor`, a ramp between
  kFactors,  // frequency i divided by `factors[i]` (rope_freqs in GGUF)
};

// Everything that rotary embedding depends on.
struct RotaryParameters {
  double theta = 10000;
  int head_dim = 0;  // even
  RotaryPairs pairs = RotaryPairs::kHalves;
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1;               // kLinear, kLlama3
  double low_freq_factor = 1;      // kLlama3
  double high_freq_factor = 4;     // kLlama3
  double original_context = 8192;  // kLlama3
  std::span<const float> factors;  // kFactors: [head_dim / 2]
};

// theta^(-2i / head_dim) for every pair i, scaled as transformers'
// modeling_rope_utils.py scales it.  Parameters are positive and finite, and
// high_freq_factor > low_freq_factor: the readers check that.
std::vector<float> InverseFrequencies(const RotaryParameters& parameters);

// Every parameter in one line, equal for equal parameters alone.
std::string DescribeRotary(const RotaryParameters& parameters);

// Fills the rotary fields of `model`.  InvalidArgument if a frequency is not
// finite.
absl::Status SetRotary(const RotaryParameters& parameters, ModelConfig& model);

}  // namespace winnow
