#include "services/common/compute_gate.h"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

// Threads that wait for a turn each, in a known order, and note when they get
// it.
class Waiters {
 public:
  explicit Waiters(ComputeGate& gate) : gate_(gate) {}
  ~Waiters() { Join(); }

  void Add(ComputeKind kind, const std::string& name) {
    const int before = gate_.NumWaiting(kind);
    threads_.emplace_back([this, kind, name] {
      const ComputeGate::Turn turn = gate_.Enter(kind);
      order_.push_back(name);  // the turn guards it
    });
    WaitUntil([&] { return gate_.NumWaiting(kind) == before + 1; });
  }
  const std::vector<std::string>& Join() {
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
    return order_;
  }

 private:
  ComputeGate& gate_;
  std::vector<std::string> order_;
  std::vector<std::thread> threads_;
};

TEST(ComputeGateTest, WaitingTurnsAlternateAndAreInOrderWithinAKind) {
  ComputeGate gate;
  auto held = std::make_optional(gate.Enter(ComputeKind::kPrefill));
  Waiters waiters(gate);
  for (const char* name : {"prefill 1", "prefill 2", "prefill 3"}) {
    waiters.Add(ComputeKind::kPrefill, name);
  }
  for (const char* name : {"decode 1", "decode 2"}) {
    waiters.Add(ComputeKind::kDecode, name);
  }
  held.reset();
  EXPECT_THAT(waiters.Join(),
              ::testing::ElementsAre("decode 1", "prefill 1", "decode 2",
                                     "prefill 2", "prefill 3"));
}

TEST(ComputeGateTest, DecodeDoesNotStarvePrefill) {
  ComputeGate gate;
  auto held = std::make_optional(gate.Enter(ComputeKind::kDecode));
  Waiters waiters(gate);
  for (const char* name : {"decode 1", "decode 2", "decode 3"}) {
    waiters.Add(ComputeKind::kDecode, name);
  }
  waiters.Add(ComputeKind::kPrefill, "prefill 1");
  held.reset();
  EXPECT_THAT(waiters.Join(), ::testing::ElementsAre("prefill 1", "decode 1",
                                                     "decode 2", "decode 3"));
}

TEST(ComputeGateTest, DecodeIsActiveWhileAnySequenceDecodes) {
  ComputeGate gate;
  EXPECT_FALSE(gate.decode_active());
  gate.BeginDecode();
  gate.BeginDecode();
  gate.EndDecode();
  EXPECT_TRUE(gate.decode_active());
  gate.EndDecode();
  EXPECT_FALSE(gate.decode_active());
}

TEST(ComputeGateStressTest, OneTurnAtATime) {
  ComputeGate gate;
  int64_t turns = 0;  // the turn guards it
  std::vector<std::thread> threads;
  threads.reserve(6);
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 500; ++round) {
        const ComputeGate::Turn turn = gate.Enter(
            i % 2 == 0 ? ComputeKind::kPrefill : ComputeKind::kDecode);
        const int64_t before = turns;
        std::this_thread::yield();
        turns = before + 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(turns, 3000);
}

}  // namespace
}  // namespace winnow
