#include "gpu/base/clock.h"

#include <chrono>

namespace winnow {
namespace {

class RealClock final : public Clock {
 public:
  absl::Duration Monotonic() const override {
    return absl::FromChrono(
        std::chrono::steady_clock::now().time_since_epoch());
  }
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock* const kClock = new RealClock;
  return *kClock;
}

}  // namespace winnow
