#pragma once

#include <vector>

#include "gpu/cpu/thread_pool.h"
#include "gpu/elementwise.h"

namespace winnow {

// Rows and elements, vectorised with Highway, which picks the instruction set
// itself: every one gives float32 results, whatever the backend's level.
//
// Remembers the sines and cosines of the last call of Rotary, because all
// layers rotate by the same positions: at most kMaxAngles pairs are kept.
//
// One caller at a time.
class CpuElementwise final : public ElementwiseOps {
 public:
  static constexpr size_t kMaxAngles = size_t{1} << 18;

  // `pool` outlives this.
  explicit CpuElementwise(ThreadPool& pool) : pool_(pool) {}

  absl::Status RmsNorm(const RmsNormArgs& args) override;
  absl::Status Rotary(const RotaryArgs& args) override;
  absl::Status SiluMul(const SiluMulArgs& args) override;

 private:
  void RotaryOfPart(const RotaryArgs& args);
  void PrepareAngles(const RotaryArgs& args);

  ThreadPool& pool_;
  std::vector<int32_t> positions_;  // of the angles below
  std::vector<float> inverse_frequencies_;
  std::vector<float> cosines_;  // [positions, pairs]
  std::vector<float> sines_;
};

}  // namespace winnow
