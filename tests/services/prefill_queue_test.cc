// Prefills that wait for one another, give up, or share a backend with decode.

#include <atomic>
#include <latch>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/retry_hint.h"
#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

constexpr char kRazor[] = "razor,window=64,slack=64,min_length=0";

class PrefillPipelineQueueTest : public TinyServing {};

TEST_F(PrefillPipelineQueueTest, CancelAtAnyMomentLeavesNothingInTheStore) {
  UsePrefill({.chunk_tokens = 64});
  const PrefillRequest request = PrefillOf(RandomIds(330, 1), kRazor, 300);
  int cancelled = 0;
  for (int leaves_at = 1;; ++leaves_at) {
    int checks = 0;
    Call call;
    call.cancelled = [&] { return ++checks >= leaves_at; };
    const auto result = node_->prefill->Run(request, call);
    if (result.ok()) {
      ASSERT_TRUE(store_->Release(result->manifest.lease.id).ok());
      break;
    }
    ++cancelled;
    ASSERT_EQ(result.status().code(), absl::StatusCode::kCancelled);
    ASSERT_EQ(store_->GetStats()->segments, 0u) << "at check " << leaves_at;
    ASSERT_EQ(store_->GetStats()->used_bytes, 0u);
    ExpectNothingLeftBehind();
  }
  // Before and in the queue, 5 chunks of context, 7 segments (R 4, W, A, T), a
  // chunk of prompt, its segment.
  EXPECT_EQ(cancelled, 2 + 5 + 7 + 1 + 1);
  ExpectNothingLeftBehind();
}

// A prefill that stops between two chunks until it is released.
class HeldPrefill {
 public:
  HeldPrefill(PrefillPipeline& prefill, KvStore& store, PrefillRequest request)
      : thread_([this, &prefill, &store, request = std::move(request)] {
          Call call;
          int checks = 0;
          call.cancelled = [&] {
            if (++checks == 5) {
              held_.count_down();
              release_.wait();
            }
            return false;
          };
          const auto result = prefill.Run(request, call);
          ASSERT_TRUE(result.ok()) << result.status();
          EXPECT_TRUE(store.Release(result->manifest.lease.id).ok());
        }) {
    held_.wait();
  }
  ~HeldPrefill() { Release(); }
  void Release() {
    if (thread_.joinable()) {
      release_.count_down();
      thread_.join();
    }
  }

 private:
  std::latch held_{1};
  std::latch release_{1};
  std::thread thread_;
};

TEST_F(PrefillPipelineQueueTest, OthersWaitThenAreRefusedWithAHint) {
  UsePrefill({.chunk_tokens = 64, .max_queue = 1});
  HeldPrefill running(*node_->prefill, *store_,
                      PrefillOf(RandomIds(300, 1), "full"));
  const StoreStats before = store_->GetStats().value();
  absl::StatusOr<PrefillResult> queued;
  std::thread second([&] {
    queued = node_->prefill->Run(PrefillOf(RandomIds(100, 2), "full"), {});
  });
  WaitUntil([&] { return node_->prefill->Snapshot().queued == 1; });
  EXPECT_EQ(store_->GetStats()->reserved_bytes, before.reserved_bytes)
      << "who waits reserves nothing";
  const auto refused =
      node_->prefill->Run(PrefillOf(RandomIds(100, 3), "full"), {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryHint(refused.status()).has_value());
  running.Release();
  second.join();
  ASSERT_TRUE(queued.ok()) << queued.status();
  EXPECT_GT(queued->times.queue, absl::ZeroDuration());
  EXPECT_TRUE(store_->Release(queued->manifest.lease.id).ok());
  ExpectNothingLeftBehind();
}

TEST_F(PrefillPipelineQueueTest, WaitInTheQueueEndsWithTheCallsDeadline) {
  UsePrefill({.chunk_tokens = 64});
  HeldPrefill running(*node_->prefill, *store_,
                      PrefillOf(RandomIds(300, 1), "full"));
  Call call;
  call.deadline = Clock::Real().Monotonic() + absl::Milliseconds(30);
  EXPECT_EQ(node_->prefill->Run(PrefillOf(RandomIds(64, 2), "full"), call)
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
  running.Release();
  ExpectNothingLeftBehind();
}

TEST_F(PrefillPipelineQueueTest, ConcurrentPrefillsGiveWhatTheyGiveAlone) {
  constexpr int kClients = 4;
  std::vector<PrefillRequest> requests;
  std::vector<std::vector<TokenChoice>> alone;
  for (uint64_t i = 0; i < kClients; ++i) {
    requests.push_back(PrefillOf(RandomIds(200 + 30 * i, i), kRazor, 180));
    const PrefillResult result = Prefill(requests.back());
    alone.push_back({result.first});
    for (const TokenChoice& token : Decode(DecodeOf(result, 30))) {
      alone.back().push_back(token);
    }
  }
  RemoveAll();
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      const PrefillResult result = Prefill(requests[i]);
      std::vector<TokenChoice> got = {result.first};
      for (const TokenChoice& token : Decode(DecodeOf(result, 30))) {
        got.push_back(token);
      }
      ExpectSameTokens(got, alone[i]);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ExpectNothingLeftBehind();
}

TEST_F(PrefillPipelineQueueTest, ChunksAreShorterWhileSequencesDecode) {
  UsePrefill({.chunk_tokens = 128, .yield_chunk_tokens = 32});
  const PrefillRequest request = PrefillOf(RandomIds(512, 1), "full");
  const auto run = [&](TokenChoice& first) {
    int checks = 0;
    Call call;
    call.cancelled = [&] {
      ++checks;
      return false;
    };
    const auto result = node_->prefill->Run(request, call);
    EXPECT_TRUE(result.ok()) << result.status();
    first = result->first;
    EXPECT_TRUE(store_->Release(result->manifest.lease.id).ok());
    RemoveAll();
    return checks;
  };
  TokenChoice alone;
  const int checks_alone = run(alone);
  node_->gate.BeginDecode();
  TokenChoice yielding;
  const int checks_yielding = run(yielding);
  node_->gate.EndDecode();
  EXPECT_EQ(checks_yielding - checks_alone, 512 / 32 - 512 / 128);
  ExpectSameTokens({yielding}, {alone});
}

TEST_F(PrefillPipelineQueueTest, DecodeStepsAreMadeDuringALongPrefill) {
  UsePrefill({.chunk_tokens = 64, .yield_chunk_tokens = 8});
  const PrefillRequest context = PrefillOf(RandomIds(64, 1), kRazor);
  const PrefillRequest longer = PrefillOf(RandomIds(500, 2), kRazor, 480);
  const std::vector<TokenChoice> decode_alone =
      Decode(DecodeOf(Prefill(context), 440));
  const PrefillResult prefill_alone = Prefill(longer);
  ASSERT_TRUE(store_->Release(prefill_alone.manifest.lease.id).ok());
  RemoveAll();

  const DecodeRequest request = DecodeOf(Prefill(context), 440);
  std::latch decoding(1);
  std::vector<TokenChoice> decoded;
  std::thread client([&] {
    const auto result = node_->decode->Run(request, {}, [&](const auto&) {
      if (!decoding.try_wait()) {
        decoding.count_down();
      }
      return true;
    });
    ASSERT_TRUE(result.ok()) << result.status();
    decoded = result->tokens;
  });
  decoding.wait();
  Call call;
  uint64_t first_steps = 0;
  uint64_t last_steps = 0;
  int checks = 0;
  call.cancelled = [&] {
    last_steps = node_->decode->Snapshot().steps;
    if (++checks == 3) {  // the first chunk is next
      first_steps = last_steps;
    }
    return false;
  };
  const auto result = node_->prefill->Run(longer, call);
  client.join();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(last_steps, first_steps);
  ExpectSameTokens(decoded, decode_alone);
  ExpectSameTokens({result->first}, {prefill_alone.first});
  ASSERT_TRUE(store_->Release(result->manifest.lease.id).ok());
  ExpectNothingLeftBehind();
}

}  // namespace
}  // namespace winnow
