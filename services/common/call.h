#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "gpu/base/clock.h"

namespace winnow {

// One request on its way through the roles: its name in logs, when it must
// have ended, and whether anybody still waits for it.
//
// Everything that waits or computes for long asks Check between its pieces:
// before every wait, before every chunk of a prefill, before every token.
struct Call {
  std::string request_id;
  // On the clock that Check is given.
  absl::Duration deadline = absl::InfiniteDuration();
  std::function<bool()> cancelled;  // thread-safe; empty: never

  // Cancelled, DeadlineExceeded, or Ok.
  absl::Status Check(const Clock& clock) const {
    if (cancelled && cancelled()) {
      return absl::CancelledError("the caller has gone");
    }
    if (clock.Monotonic() >= deadline) {
      return absl::DeadlineExceededError(
          "the deadline has passed; ask for fewer tokens or give more time");
    }
    return absl::OkStatus();
  }
};

}  // namespace winnow
