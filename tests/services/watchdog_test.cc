#include "services/common/watchdog.h"

#include <atomic>
#include <latch>

#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace winnow {
namespace {

TEST(WatchdogTest, RunsWhatIsDueInOrderAndNothingThatHasEnded) {
  Watchdog watchdog(Clock::Real());
  const absl::Duration now = Clock::Real().Monotonic();
  std::atomic<int> next = 1;
  std::atomic<int> early = 0;
  std::atomic<int> late = 0;
  std::latch done(2);
  Watchdog::Guard second = watchdog.Watch(now + absl::Milliseconds(120), [&] {
    late = next++;
    done.count_down();
  });
  Watchdog::Guard first = watchdog.Watch(now + absl::Milliseconds(60), [&] {
    early = next++;
    done.count_down();
  });
  std::atomic<bool> ran = false;
  Watchdog::Guard ended =
      watchdog.Watch(now + absl::Milliseconds(30), [&] { ran = true; });
  ended.Reset();
  EXPECT_FALSE(first.fired());
  done.wait();
  EXPECT_EQ(early, 1);
  EXPECT_EQ(late, 2);
  EXPECT_TRUE(first.fired());
  EXPECT_FALSE(ran);
  EXPECT_FALSE(ended.fired());
}

TEST(WatchdogTest, AGuardWaitsForItsActionToEnd) {
  Watchdog watchdog(Clock::Real());
  std::latch started(1);
  std::atomic<bool> ended = false;
  {
    const Watchdog::Guard guard = watchdog.Watch(absl::ZeroDuration(), [&] {
      started.count_down();
      absl::SleepFor(absl::Milliseconds(50));
      ended = true;
    });
    started.wait();
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace winnow
