#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"

#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/linear.h"

namespace winnow {

// Linear for many tokens and weights in rows: stripes of the weight matrix are
// dequantised into a thread's own scratch, which stays in its cache, and
// multiplied by oneDNN. Stripes, not oneDNN's threads, spread the work: see
// ThreadPool.
//
// Scratch: per thread one stripe, at most kStripeBytes (or 16 rows, where
// those are larger); with bfloat16, also the rounded input of at most
// kMaxTokens tokens.  More tokens take several passes.
//
// One caller at a time.
class Gemm {
 public:
  static constexpr int64_t kStripeBytes = int64_t{512} << 10;
  static constexpr int kMaxTokens = 1024;

  // bfloat16 products where `level` and `numerics` allow them, else float32.
  Gemm(ThreadPool& pool, CpuLevel level, Numerics numerics);
  ~Gemm();

  // Arguments are checked by the caller.
  absl::Status Linear(const LinearArgs& args);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace winnow
