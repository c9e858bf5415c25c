#include "services/gateway/generation.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/retry_hint.h"
#include "tests/services/fake_roles.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() {
    config_.context_limit = 100;
    config_.num_layers = 3;
    config_.num_kv_heads = 2;
    config_.head_dim = 64;
    prefiller_.first = 1;
    decoder_.script = {2, 3, 4};
  }

  absl::StatusOr<GenerationResult> Run(const Call& call = {}) {
    GenerationRequest request;
    request.prompt.ids.assign(10, 7);
    request.prompt.compact_at = 8;
    request.max_tokens = 4;
    return Generate({.prefiller = prefiller_,
                     .decoder = decoder_,
                     .store = store_,
                     .config = config_,
                     .on_rebuild = [this] { ++rebuilds_; }},
                    request, call, [this](const TokenChoice& token) {
                      seen_.push_back(token.id);
                      return std::ssize(seen_) < wanted_;
                    });
  }

  FakePrefiller prefiller_;
  FakeDecoder decoder_;
  LeaseCounter leases_;
  KvStore* store_ = &leases_;
  ModelConfig config_;
  std::vector<int32_t> seen_;
  int64_t wanted_ = 100;
  int rebuilds_ = 0;
};

TEST_F(GenerationTest, TellsWhatItTook) {
  const GenerationResult result = Run().value();
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(result.tokens.size(), 4);
  EXPECT_EQ(result.finish_reason, FinishReason::kLength);
  EXPECT_EQ(result.prefills, 1);
  EXPECT_EQ(result.context_tokens, 8);
  EXPECT_EQ(result.prompt_tokens, 10);
  EXPECT_EQ(result.reused_tokens, kFakeReused);
  EXPECT_EQ(result.kv.pulled, kFakePulled);
  // 10 tokens, 3 layers, 2 KV heads, K and V of 64 bfloat16.
  EXPECT_EQ(result.kv.full, 10 * 3 * 2 * 2 * 64 * 2);
  EXPECT_EQ(result.policy.kv_heads, 6);
  EXPECT_EQ(result.queue, absl::Milliseconds(3 + 4));
  EXPECT_EQ(result.pull, absl::Milliseconds(5));
  EXPECT_EQ(result.decode, absl::Milliseconds(6));
  EXPECT_GE(result.total, result.time_to_first_token);
  EXPECT_EQ(leases_.releases(), 0);  // decode's own matter
}

TEST_F(GenerationTest, ACacheLostInMidAnswerIsBuiltAgainUnseen) {
  for (const absl::Status& lost :
       {absl::AbortedError("segment evicted"),
        absl::UnavailableError("the decode service does not answer")}) {
    seen_.clear();
    rebuilds_ = 0;
    prefiller_.runs = decoder_.runs = 0;
    decoder_.failures = {{.after = 2, .status = lost}};
    const GenerationResult result = Run().value();
    EXPECT_THAT(seen_, ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(result.tokens.size(), 4);
    EXPECT_EQ(result.prefills, 2);
    EXPECT_EQ(prefiller_.runs, 2);
    EXPECT_EQ(rebuilds_, 1);
  }
  EXPECT_EQ(leases_.releases(), 2);  // of the attempts that failed
  EXPECT_EQ(leases_.released(), kFakeLease);
}

TEST_F(GenerationTest, ACacheThatIsAlwaysLostFails) {
  decoder_.failures = {{.after = 0, .status = absl::AbortedError("evicted")},
                       {.after = 1, .status = absl::AbortedError("again")}};
  const absl::Status status = Run().status();
  EXPECT_EQ(status, absl::AbortedError("again"));
  EXPECT_EQ(prefiller_.runs, kMaxPrefills);
  EXPECT_THAT(seen_, ElementsAre(1, 2));
  EXPECT_EQ(leases_.releases(), 2);
}

TEST_F(GenerationTest, AnAttemptThatGivesAnotherTokenFails) {
  decoder_.failures = {{.after = 2, .status = absl::AbortedError("evicted")}};
  decoder_.divergence = 99;
  const absl::Status status = Run().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another token"));
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
}

TEST_F(GenerationTest, WhatDoingItAgainCannotHelpIsNotDoneAgain) {
  absl::Status full = absl::ResourceExhaustedError("the queue is full");
  SetRetryHint(full, absl::Seconds(2));
  decoder_.failures = {{.after = 0, .status = full}};
  EXPECT_EQ(Run().status(), full);
  EXPECT_EQ(leases_.releases(), 1);

  prefiller_.failures = {absl::UnavailableError("no prefill service")};
  EXPECT_EQ(Run().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(prefiller_.runs, 2);
  EXPECT_EQ(decoder_.runs, 1);
  EXPECT_EQ(rebuilds_, 0);
}

TEST_F(GenerationTest, NothingIsBuiltAgainForACallerWhoHasGone) {
  bool gone = false;
  decoder_.failures = {{.after = 3, .status = absl::AbortedError("evicted")}};
  Call call;
  call.cancelled = [&] {
    gone = seen_.size() == 4;
    return gone;
  };
  EXPECT_EQ(Run(call).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(prefiller_.runs, 1);
  EXPECT_EQ(leases_.releases(), 1);
}

TEST_F(GenerationTest, TheSinkEndsIt) {
  wanted_ = 1;
  EXPECT_EQ(Run()->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(decoder_.runs, 0);
  EXPECT_EQ(leases_.releases(), 1);  // decode never took over

  seen_.clear();
  wanted_ = 3;
  EXPECT_EQ(Run()->finish_reason, FinishReason::kCancelled);
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
  EXPECT_TRUE(decoder_.stopped);
}

TEST_F(GenerationTest, WithoutAStoreLeasesRunOutByThemselves) {
  store_ = nullptr;
  decoder_.failures = {{.after = 1, .status = absl::AbortedError("evicted")}};
  EXPECT_EQ(Run()->prefills, 2);
}

}  // namespace
}  // namespace winnow
