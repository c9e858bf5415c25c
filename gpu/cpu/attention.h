#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"

#include "gpu/attention.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/thread_pool.h"

namespace winnow {

// Attention on the threads of a pool.
//
// Work is cut by what a row is, never by how many threads or other rows there
// are: a row gives the same bits alone and in a batch, on one thread and on
// many.  Scratch is kept between calls and grows with the largest call.
//
// Not thread-safe.
class CpuAttention final : public AttentionOps {
 public:
  // `pool` outlives this object.  The machine has `level`.
  CpuAttention(ThreadPool& pool, CpuLevel level);
  ~CpuAttention() override;

  absl::Status Attention(const AttentionArgs& args) override;
  absl::Status AttentionMass(const AttentionMassArgs& args) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace winnow
