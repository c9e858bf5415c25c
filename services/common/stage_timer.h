#pragma once

#include "absl/time/time.h"

#include "gpu/base/clock.h"

namespace winnow {

// Adds the time of its scope to `total`.
class StageTimer {
 public:
  StageTimer(const Clock& clock, absl::Duration& total)
      : clock_(clock), total_(total), started_(clock.Monotonic()) {}
  ~StageTimer() { total_ += clock_.Monotonic() - started_; }

  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  const Clock& clock_;
  absl::Duration& total_;
  const absl::Duration started_;
};

}  // namespace winnow
