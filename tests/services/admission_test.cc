#include "services/common/admission.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/retry_hint.h"
#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

// A call in a thread of its own that enters, says so, and holds its ticket
// until it is told to leave.
class Caller {
 public:
  Caller(Admission& admission, uint64_t bytes, std::vector<int>& order,
         int name)
      : thread_([this, &admission, bytes, &order, name] {
          auto ticket = admission.Enter(bytes, {});
          ok_ = ticket.ok();
          {
            const std::lock_guard lock(OrderMutex());
            order.push_back(name);
          }
          entered_ = true;
          while (!leave_) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  ~Caller() { Leave(); }
  void Leave() {
    leave_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  bool entered() const { return entered_; }
  bool ok() const { return ok_; }

 private:
  static std::mutex& OrderMutex() {
    static std::mutex mutex;
    return mutex;
  }
  std::atomic<bool> ok_ = false;
  std::atomic<bool> entered_ = false;
  std::atomic<bool> leave_ = false;
  std::thread thread_;
};

TEST(AdmissionTest, CountsPlacesAndBytesWhileTicketsLive) {
  Admission admission({.places = 2, .max_bytes = 100});
  {
    const auto first = admission.Enter(60, {});
    const auto second = admission.Enter(40, {});
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(admission.Snapshot().running, 2);
    EXPECT_EQ(admission.Snapshot().bytes_in_use, 100u);
  }
  EXPECT_EQ(admission.Snapshot().running, 0);
  EXPECT_EQ(admission.Snapshot().bytes_in_use, 0u);
}

TEST(AdmissionTest, WhatNeverFitsIsRefusedWithTheLimitAndNoHint) {
  Admission admission({.places = 2, .max_bytes = 100});
  const absl::Status status = admission.Enter(101, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("limit is 100"));
  EXPECT_FALSE(RetryHint(status).has_value());
}

TEST(AdmissionTest, FullQueueIsRefusedAtOnceWithAHint) {
  Admission admission({.places = 1, .max_queue = 1});
  auto running = admission.Enter(0, {});
  std::vector<int> order;
  Caller queued(admission, 0, order, 1);
  WaitUntil([&] { return admission.Snapshot().queued == 1; });
  const absl::Status status = admission.Enter(0, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(RetryHint(status).has_value());
  EXPECT_GE(*RetryHint(status), absl::Milliseconds(100));
  EXPECT_FALSE(queued.entered());
  *running = Admission::Ticket();
  WaitUntil([&] { return queued.entered(); });
  EXPECT_TRUE(queued.ok());
}

TEST(AdmissionTest, QueueIsFirstComeFirstServed) {
  Admission admission({.places = 1});
  auto running = admission.Enter(0, {});
  std::vector<int> order;
  std::vector<std::unique_ptr<Caller>> callers;
  for (int i = 0; i < 4; ++i) {
    callers.push_back(std::make_unique<Caller>(admission, 0, order, i));
    WaitUntil([&] { return admission.Snapshot().queued == i + 1; });
  }
  *running = Admission::Ticket();
  for (const auto& caller : callers) {
    WaitUntil([&] { return caller->entered(); });
    caller->Leave();
  }
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3));
}

TEST(AdmissionTest, LargeRequestAtTheHeadIsNotOvertaken) {
  Admission admission({.places = 8, .max_bytes = 100});
  auto running = admission.Enter(50, {});
  std::vector<int> order;
  Caller large(admission, 80, order, 1);
  WaitUntil([&] { return admission.Snapshot().queued == 1; });
  Caller small(admission, 10, order, 2);  // would fit now
  WaitUntil([&] { return admission.Snapshot().queued == 2; });
  EXPECT_FALSE(small.entered());
  *running = Admission::Ticket();
  WaitUntil([&] { return large.entered() && small.entered(); });
  EXPECT_EQ(admission.Snapshot().bytes_in_use, 90u);
}

TEST(AdmissionTest, WaitEndsWithTheCallsDeadline) {
  Admission admission({.places = 1});
  const auto running = admission.Enter(0, {});
  Call call;
  call.deadline = Clock::Real().Monotonic() + absl::Milliseconds(30);
  EXPECT_EQ(admission.Enter(0, call).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(admission.Snapshot().queued, 0);
}

TEST(AdmissionTest, WaitEndsWithTheQueuesTimeoutAndAHint) {
  Admission admission({.places = 1, .queue_timeout = absl::Milliseconds(30)});
  const auto running = admission.Enter(0, {});
  const absl::Status status = admission.Enter(0, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryHint(status).has_value());
  EXPECT_EQ(admission.Snapshot().queued, 0);
}

TEST(AdmissionTest, HeadThatGivesUpLetsThoseBehindItIn) {
  Admission admission({.places = 8, .max_bytes = 100});
  const auto running = admission.Enter(50, {});
  std::atomic<bool> gone = false;
  absl::Status large_status;
  std::thread large([&] {
    Call call;
    call.cancelled = [&] { return gone.load(); };
    large_status = admission.Enter(80, call).status();
  });
  WaitUntil([&] { return admission.Snapshot().queued == 1; });
  std::vector<int> order;
  Caller small(admission, 10, order, 2);
  WaitUntil([&] { return admission.Snapshot().queued == 2; });
  gone = true;
  large.join();
  EXPECT_EQ(large_status.code(), absl::StatusCode::kCancelled);
  WaitUntil([&] { return small.entered(); });
  EXPECT_EQ(admission.Snapshot().bytes_in_use, 60u);
}

TEST(AdmissionStressTest, NeverMoreThanItsLimits) {
  Admission admission({.places = 3, .max_bytes = 10, .max_queue = 64});
  std::atomic<int> running = 0;
  std::atomic<uint64_t> bytes = 0;
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (uint64_t round = 0; round < 200; ++round) {
        const uint64_t wanted = 1 + RandomAt(i, round) % 6;
        const auto ticket = admission.Enter(wanted, {});
        ASSERT_TRUE(ticket.ok()) << ticket.status();
        EXPECT_LE(running.fetch_add(1) + 1, 3);
        EXPECT_LE(bytes.fetch_add(wanted) + wanted, 10u);
        std::this_thread::yield();
        bytes -= wanted;
        --running;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(admission.Snapshot().running, 0);
  EXPECT_EQ(admission.Snapshot().bytes_in_use, 0u);
}

TEST(RetryHintTest, ComesBackRoundedUpToMilliseconds) {
  absl::Status status = absl::ResourceExhaustedError("full");
  EXPECT_FALSE(RetryHint(status).has_value());
  SetRetryHint(status, absl::Microseconds(1500));
  EXPECT_EQ(RetryHint(status), absl::Milliseconds(2));
}

TEST(RetryHintTest, TakesNothingThatIsNoTimeUpToAnHour) {
  for (const char* text : {"", "-1", "soon", "3600001", "12345678901", "1.5"}) {
    absl::Status status = absl::ResourceExhaustedError("full");
    status.SetPayload("winnow.v1/retry-after", absl::Cord(text));
    EXPECT_FALSE(RetryHint(status).has_value()) << text;
  }
}

}  // namespace
}  // namespace winnow
