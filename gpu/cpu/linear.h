#pragma once

#include <vector>

#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/gemm.h"
#include "gpu/cpu/int8_input.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/linear.h"

namespace winnow {

// Matrix operations on the CPU.  Up to kMaxDotTokens tokens are bound by the
// speed of memory: the weights are read in place, once, by dot products, on
// integers where numerics and type allow (int8_dot.h), else in float32.  More
// tokens go to oneDNN (gemm.h).
//
// Scratch beside Gemm's: the rounded input of kMaxDotTokens tokens, and one
// float32 row per thread.
//
// One caller at a time.
class CpuLinear final : public LinearOps {
 public:
  // Where both ways took equally long for SmolLM2 with AVX512-BF16.
  static constexpr int kMaxDotTokens = 14;

  // `pool` outlives this.
  CpuLinear(ThreadPool& pool, CpuLevel level, Numerics numerics);

  absl::Status Linear(const LinearArgs& args) override;
  absl::Status Embed(const EmbedArgs& args) override;

 private:
  void IntegerDots(const LinearArgs& args);
  void FloatDots(const LinearArgs& args);
  void FloatDotRow(const LinearArgs& args, int64_t row, float* weights) const;

  ThreadPool& pool_;
  const CpuLevel level_;
  const Numerics numerics_;
  Gemm gemm_;
  std::vector<Int8Group> groups_;
  std::vector<std::vector<float>> rows_;  // by thread
};

}  // namespace winnow
