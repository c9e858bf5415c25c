#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace winnow {

// output[r, c] = input[r, c] / sqrt(mean_c(input[r, c]^2) + epsilon) * scale[c]
// Root-mean-square norm (Zhang and Sennrich 2019), one row at a time.
struct RmsNormArgs {
  const float* input = nullptr;  // [rows, cols]
  const float* scale = nullptr;  // [cols]
  float* output = nullptr;       // [rows, cols]; may be the input
  int rows = 0;
  int cols = 0;
  float epsilon = 0;
};

// Which two dimensions of a head form a rotary pair i of head_dim / 2.
enum class RotaryPairs : uint8_t {
  kHalves,       // (i, i + head_dim / 2): Hugging Face, Qwen in GGUF
  kInterleaved,  // (2i, 2i + 1): Llama in GGUF, whose q and k rows are permuted
};

// Rotates every head of every token by its position, in place (RoFormer,
// section 3.4.2): angle of pair i at position p is p * inverse_frequency[i].
struct RotaryArgs {
  float* heads = nullptr;              // [num_tokens, num_heads, head_dim]
  std::span<const int32_t> positions;  // [num_tokens]
  std::span<const float> inverse_frequencies;  // [head_dim / 2]
  int num_heads = 0;
  int head_dim = 0;
  RotaryPairs pairs = RotaryPairs::kHalves;
};

// output[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)).
struct SiluMulArgs {
  const float* gate = nullptr;  // [count]
  const float* up = nullptr;    // [count]
  float* output = nullptr;      // [count]; may be gate or up
  int64_t count = 0;
};

// Operations on single rows and elements, in float32 in every mode.
class ElementwiseOps {
 public:
  virtual ~ElementwiseOps() = default;
  virtual absl::Status RmsNorm(const RmsNormArgs& args) = 0;
  virtual absl::Status Rotary(const RotaryArgs& args) = 0;
  virtual absl::Status SiluMul(const SiluMulArgs& args) = 0;
};

}  // namespace winnow
