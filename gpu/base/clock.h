#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace winnow {

// A source of time for leases, deadlines and measurements.  Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Time since an arbitrary fixed point; never goes back and is not moved by
  // changes of the wall clock.
  virtual absl::Duration Monotonic() const = 0;

  // The process-wide real clock.
  static const Clock& Real();
};

// A clock that moves only when told to, for tests.  Not thread-safe while it
// is advanced.
class FakeClock final : public Clock {
 public:
  absl::Duration Monotonic() const override { return now_; }
  void Advance(absl::Duration step) { now_ += step; }

 private:
  absl::Duration now_ = absl::ZeroDuration();
};

}  // namespace winnow
