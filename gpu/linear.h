#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "gpu/weight.h"

namespace winnow {

// output[t, r] (+)= sum_c input[t, c] * weight[r, c] + bias[r].
// Pointers are the backend's own memory.
struct LinearArgs {
  const float* input = nullptr;  // [num_tokens, weight.cols]
  WeightView weight;             // [rows, cols]
  const float* bias = nullptr;   // [weight.rows], or null for none
  float* output = nullptr;       // [num_tokens, weight.rows]; not the input
  int num_tokens = 0;            // >= 1
  bool accumulate = false;       // add to the output (a residual stream)
};

// output[i, :] = weight[ids[i], :], dequantised.
struct EmbedArgs {
  std::span<const int32_t> ids;  // each in [0, weight.rows)
  WeightView weight;             // [vocabulary, hidden]
  float* output = nullptr;       // [ids.size(), hidden]
};

// Matrix operations on weights that stay quantised in memory.
//
// In fast mode inputs and weights may be rounded: with quantised weights to 15
// bits relative to the largest of the values that share a scale, else to
// bfloat16.  In float32 mode only the order of the additions is free.
class LinearOps {
 public:
  virtual ~LinearOps() = default;

  // The form of a weight that this backend is fastest with, made once when a
  // model is loaded.  ResidentBytes is the memory it takes, 0 where the form
  // that `weight` has is used as it is; MakeResident writes it to `memory`, of
  // so many bytes and 64-byte aligned, and returns a view of it.  Views of it
  // are for backends made with the same options; all others refuse them
  // (InvalidArgument).
  virtual size_t ResidentBytes(const WeightView& weight) const = 0;
  virtual WeightView MakeResident(const WeightView& weight,
                                  std::byte* memory) = 0;

  // Products that do not depend on one another; those of the same input are
  // fastest side by side.
  virtual absl::Status LinearAll(std::span<const LinearArgs> products) = 0;
  absl::Status Linear(const LinearArgs& args) { return LinearAll({&args, 1}); }
  virtual absl::Status Embed(const EmbedArgs& args) = 0;
};

}  // namespace winnow
