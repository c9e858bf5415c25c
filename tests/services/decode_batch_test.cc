// Sequences that decode in one batch: each gets what it gets alone, and what
// one of them does is nobody else's matter.

#include <atomic>
#include <latch>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/gpu/model_golden.h"
#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

constexpr char kRazor[] = "razor,window=64,slack=64,min_length=0";

// Prefills of different lengths and policies, and what follows each.
struct Workload {
  PrefillRequest prefill;
  int64_t steps = 0;
  SamplingParameters sampling;
};

std::vector<Workload> MixedWork() {
  return {
      {PrefillOf(RandomIds(200, 1), "full"), 40, {}},
      {PrefillOf(RandomIds(300, 2), kRazor, 250), 150, {}},
      {PrefillOf(RandomIds(65, 3), "streaming,window=64,min_length=0"), 90, {}},
      {PrefillOf(RandomIds(1, 4), "full"), 12, {.temperature = 1, .seed = 7}},
      {PrefillOf(RandomIds(190, 5), "razor,window=64,slack=0,min_length=0"),
       120,
       {.temperature = 0.8f, .top_k = 20, .repetition_penalty = 1.2f}},
  };
}

class DecodePipelineBatchTest
    : public TinyServing,
      public testing::WithParamInterface<const char*> {
 protected:
  DecodeRequest RequestOf(const Workload& work) {
    DecodeRequest request = DecodeOf(Prefill(work.prefill), work.steps);
    request.sampling = work.sampling;
    return request;
  }
};

TEST_P(DecodePipelineBatchTest, ASequenceInABatchGivesWhatItGivesAlone) {
  node_ = MakeNode(GetParam());
  const std::vector<Workload> work = MixedWork();
  std::vector<std::vector<TokenChoice>> alone;
  for (const Workload& one : work) {
    alone.push_back(Decode(RequestOf(one)));
  }
  const DecodeCounts before = node_->decode->Snapshot();
  EXPECT_EQ(before.steps, before.step_tokens) << "alone means batches of one";

  std::vector<std::vector<TokenChoice>> together(work.size());
  std::latch all_decode(std::ssize(work));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < work.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto result =
          node_->decode->Run(RequestOf(work[i]), {}, [&](const TokenChoice&) {
            if (together[i].empty()) {
              together[i].emplace_back();
              all_decode.arrive_and_wait();
            }
            return true;
          });
      ASSERT_TRUE(result.ok()) << result.status();
      together[i] = result->tokens;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (size_t i = 0; i < work.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameTokens(together[i], alone[i]);
  }
  const DecodeCounts after = node_->decode->Snapshot();
  EXPECT_LT(after.steps - before.steps, after.step_tokens - before.step_tokens)
      << "no step had more than one sequence";
  ExpectNothingLeftBehind();
}

// The bare model, without pipelines, store or batcher, is the other truth.
TEST_P(DecodePipelineBatchTest, ASequenceInABatchContinuesAsTheBareModel) {
  node_ = MakeNode(GetParam());
  std::vector<std::thread> threads;
  for (const size_t length : {1, 64, 130}) {
    threads.emplace_back([this, length] {
      const auto bare =
          LoadModel(std::string(WINNOW_GOLDEN_DIR) + "/tiny/" + GetParam())
              .value();
      const auto backend =
          CreateCpuBackend({.numerics = Numerics::kFloat32, .num_threads = 1})
              .value();
      const std::vector<int32_t> ids = RandomIds(length, length);
      const std::vector<int32_t> want =
          Greedy(*backend, *bare, KvDtype::kFloat32, ids, 80);
      const PrefillResult prefilled = Prefill(PrefillOf(ids, "full"));
      std::vector<int32_t> got = {prefilled.first.id};
      for (const TokenChoice& token : Decode(DecodeOf(prefilled, 79))) {
        got.push_back(token.id);
      }
      EXPECT_THAT(got, ::testing::ElementsAreArray(want)) << length;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DecodePipelineBatchTest,
                         testing::Values("llama", "qwen3"),
                         [](const auto& param) { return param.param; });

class DecodePipelineTest : public TinyServing {};

TEST_F(DecodePipelineTest, SlowSinkStopsNobodyElse) {
  const DecodeRequest slow =
      DecodeOf(Prefill(PrefillOf(RandomIds(64, 1), "full")), 300);
  const DecodeRequest fast =
      DecodeOf(Prefill(PrefillOf(RandomIds(64, 2), "full")), 300);
  const std::vector<TokenChoice> slow_alone =
      Decode(DecodeOf(Prefill(PrefillOf(RandomIds(64, 1), "full")), 300));
  const DecodeCounts before = node_->decode->Snapshot();

  std::latch blocked(1);
  std::latch release(1);
  std::vector<TokenChoice> slow_tokens;
  std::thread slow_client([&] {
    const auto result =
        node_->decode->Run(slow, {}, [&](const TokenChoice& token) {
          slow_tokens.push_back(token);
          if (slow_tokens.size() == 1) {
            blocked.count_down();
            release.wait();
          }
          return true;
        });
    EXPECT_TRUE(result.ok()) << result.status();
  });
  blocked.wait();
  EXPECT_EQ(Decode(fast).size(), 300u);
  // The slow one got its one token and no more than a full queue besides.
  const DecodeCounts after = node_->decode->Snapshot();
  EXPECT_LE(after.step_tokens - before.step_tokens,
            300u + 1 + kMaxQueuedTokens);
  EXPECT_EQ(after.running, 1);
  release.count_down();
  slow_client.join();
  ExpectSameTokens(slow_tokens, slow_alone);
  ExpectNothingLeftBehind();
}

TEST_F(DecodePipelineTest, CancelInTheMiddleFreesEverythingAtOnce) {
  const DecodeRequest request =
      DecodeOf(Prefill(PrefillOf(RandomIds(200, 3), kRazor)), 200);
  std::atomic<bool> gone = false;
  Call call;
  call.cancelled = [&] { return gone.load(); };
  int tokens = 0;
  const auto result =
      node_->decode->Run(request, call, [&](const TokenChoice&) {
        EXPECT_GT(node_->decode->Snapshot().reserved_bytes, 0u);
        gone = ++tokens == 3;
        return true;
      });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(tokens, 3);
  ExpectNothingLeftBehind();
  const uint64_t steps = node_->decode->Snapshot().steps;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(node_->decode->Snapshot().steps, steps) << "somebody still steps";
}

TEST_F(DecodePipelineTest, SinkThatWantsNoMoreFreesEverythingAtOnce) {
  const DecodeRequest request =
      DecodeOf(Prefill(PrefillOf(RandomIds(100, 4), "full")), 200);
  const auto result =
      node_->decode->Run(request, {}, [](const TokenChoice&) { return false; });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(result->tokens.size(), 1u);
  ExpectNothingLeftBehind();
}

TEST_F(DecodePipelineTest, StalledSinkEndsWithDeadlineExceeded) {
  UseDecode({.stall_timeout = absl::Milliseconds(10)});
  const DecodeRequest request =
      DecodeOf(Prefill(PrefillOf(RandomIds(64, 5), "full")), 10);
  const auto result = node_->decode->Run(request, {}, [](const TokenChoice&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return true;
  });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
  ExpectNothingLeftBehind();
}

TEST_F(DecodePipelineTest, EndOfTextStopsAsAlways) {
  const PrefillResult prefilled = Prefill(PrefillOf(RandomIds(64, 6), "full"));
  DecodeRequest request = DecodeOf(prefilled, 5);
  request.ignore_eos = false;
  request.first_token = node_->model->config().end_of_text.front();
  const auto result = node_->decode->Run(request, {}, TakeAll);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->finish_reason, FinishReason::kStop);
  EXPECT_TRUE(result->tokens.empty());
}

// Many clients at once, some of which go away in the middle.
TEST_F(DecodePipelineTest, StressOfClientsThatComeAndGo) {
  UseDecode({.max_sequences = 3, .queue_timeout = absl::Minutes(1)});
  const std::vector<int32_t> ids = RandomIds(130, 9);
  const std::vector<TokenChoice> alone =
      Decode(DecodeOf(Prefill(PrefillOf(ids, kRazor, 100)), 60));
  std::vector<std::thread> threads;
  for (uint64_t client = 0; client < 5; ++client) {
    threads.emplace_back([&, client] {
      for (uint64_t round = 0; round < 4; ++round) {
        const uint64_t leaves_after = RandomAt(client, round) % 120;
        uint64_t tokens = 0;
        Call call;
        call.cancelled = [&] { return tokens > leaves_after; };
        const auto prefilled =
            node_->prefill->Run(PrefillOf(ids, kRazor, 100), {});
        ASSERT_TRUE(prefilled.ok()) << prefilled.status();
        const auto result = node_->decode->Run(DecodeOf(*prefilled, 60), call,
                                               [&](const TokenChoice&) {
                                                 ++tokens;
                                                 return true;
                                               });
        if (leaves_after < 59) {
          EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
        } else if (result.ok()) {
          ExpectSameTokens(result->tokens, alone);
        } else {
          // Told to leave right after its last token.
          EXPECT_EQ(leaves_after, 59u) << result.status();
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ExpectNothingLeftBehind();
}

}  // namespace
}  // namespace winnow
