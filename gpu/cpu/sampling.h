#pragma once

#include <vector>

#include "gpu/sampling.h"

namespace winnow {

// Sampling's reduction on one thread: a row is small.  One pass finds the
// largest logit, another adds the exponentials and passes whatever may belong
// to the top to a heap.
//
// Scratch: the largest `count` asked for so far.  One caller at a time.
class CpuSampling final : public SamplingOps {
 public:
  absl::Status TopLogits(const TopLogitsArgs& args) override;

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void SelectTop(const TopLogitsArgs& args);

  std::vector<Candidate> heap_;
};

}  // namespace winnow
