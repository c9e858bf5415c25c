#include "services/gateway/generation_service.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/base/utf8.h"
#include "services/common/wire.h"
#include "tests/services/fake_roles.h"
#include "tests/services/gateway_fixture.h"

namespace winnow {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Roles that know nothing of the model, behind a real server: the words of the
// answer are the test's.
class GenerationServiceTest : public testing::Test {
 protected:
  GenerationServiceTest()
      : model_(LoadModel(FetchedModelPath()).value()),
        tokenizer_(Tokenizer::Create(model_->tokenizer_source()).value()),
        gateway_({.prefiller = prefiller_,
                  .decoder = decoder_,
                  .store = &leases_,
                  .config = model_->config()},
                 *model_, *tokenizer_,
                 {.max_prompt_bytes = 1000,
                  .max_tokens = 300,
                  .default_policy = ParsePolicy("streaming,sinks=7").value()}) {
    request_.set_prompt("Say it.");
    Answer("An answer.");
  }

  // What the roles will say.
  void Answer(const std::string& text) {
    ids_ = tokenizer_->Encode(text, SpecialTokens::kAsText)->ids;
    prefiller_.first = ids_.front();
    decoder_.script.assign(ids_.begin() + 1, ids_.end());
  }

  const std::unique_ptr<Model> model_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  FakePrefiller prefiller_;
  FakeDecoder decoder_;
  LeaseCounter leases_;
  std::vector<int32_t> ids_;
  v1::GenerateRequest request_;
  TestGateway gateway_;
};

TEST_F(GenerationServiceTest, AnswersWithAcceptedTokensFinished) {
  request_.set_context("A story.");
  const CallOutcome outcome = gateway_.Ask(request_);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.order, "a" + std::string(ids_.size(), 't') + "f");
  EXPECT_EQ(outcome.text, "An answer.");
  EXPECT_THAT(outcome.ids(), ElementsAreArray(ids_));
  EXPECT_EQ(outcome.request_id, "test-1");
  EXPECT_EQ(outcome.accepted.request_id(), "test-1");
  EXPECT_EQ(outcome.accepted.model(), "the-model");
  EXPECT_EQ(outcome.accepted.context_tokens(), prefiller_.last.compact_at);
  EXPECT_EQ(outcome.accepted.prompt_tokens(), std::ssize(prefiller_.last.ids));
  EXPECT_LT(outcome.accepted.context_tokens(),
            outcome.accepted.prompt_tokens());

  const v1::Finished& finished = outcome.finished;
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);  // before max_tokens
  const v1::Usage& usage = finished.usage();
  EXPECT_EQ(usage.prompt_tokens(), outcome.accepted.prompt_tokens());
  EXPECT_EQ(usage.completion_tokens(), std::ssize(ids_));
  EXPECT_EQ(usage.reused_tokens(), kFakeReused);
  EXPECT_EQ(usage.kv_full_bytes(),
            usage.prompt_tokens() *
                model_->config().KvBytesPerToken(KvDtype::kBfloat16));
  EXPECT_EQ(usage.kv_pulled_bytes(), kFakePulled);
  EXPECT_EQ(usage.prefills(), 1);
  const v1::Timings& timings = finished.timings();
  EXPECT_EQ(FromWire(timings.queue()), absl::Milliseconds(3 + 4));
  EXPECT_EQ(FromWire(timings.prefill()), absl::Milliseconds(10));
  EXPECT_EQ(FromWire(timings.write()), absl::Milliseconds(2));
  EXPECT_EQ(FromWire(timings.pull()), absl::Milliseconds(5));
  EXPECT_EQ(FromWire(timings.decode()), absl::Milliseconds(6));
  EXPECT_GT(FromWire(timings.tokenize()), absl::ZeroDuration());
  EXPECT_GT(FromWire(timings.time_to_first_token()),
            FromWire(timings.tokenize()));
  EXPECT_GE(FromWire(timings.total()), FromWire(timings.time_to_first_token()));
  EXPECT_EQ(finished.kv_heads(), 6);
}

TEST_F(GenerationServiceTest, TextComesInWholeCharacters) {
  const std::string text =
      "na\u00EFve \U0001F600 \u65E5\u672C\u8A9E \U0001F9EA";
  Answer(text);
  ASSERT_GT(ids_.size(), 10);  // characters are cut
  const CallOutcome outcome = gateway_.Ask(request_);
  EXPECT_EQ(outcome.text, text);
  for (const v1::TokenEvent& token : outcome.tokens) {
    EXPECT_EQ(ValidateUtf8(token.text()), std::string::npos);
  }
  // An answer that ends in mid-character.
  Answer("\U0001F9EA");
  ASSERT_GT(ids_.size(), 1);
  request_.set_max_tokens(std::ssize(ids_) - 1);
  EXPECT_EQ(gateway_.Ask(request_).finished.text(), "\uFFFD");
}

TEST_F(GenerationServiceTest, AStopTextEndsTheAnswerAndTheDecode) {
  Answer("One two three four five six seven");
  request_.add_stop("never");
  request_.add_stop("ree fo");
  const CallOutcome outcome = gateway_.Ask(request_);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.text, "One two th");
  EXPECT_EQ(outcome.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(outcome.finished.usage().completion_tokens(),
            std::ssize(outcome.tokens));
  EXPECT_LT(outcome.tokens.size(), ids_.size());
  EXPECT_TRUE(decoder_.stopped);
  // A stop text that does not come changes nothing.
  request_.clear_stop();
  request_.add_stop("seven!");
  EXPECT_EQ(gateway_.Ask(request_).text, "One two three four five six seven");
}

TEST_F(GenerationServiceTest, RequestsReachTheRoles) {
  EXPECT_TRUE(gateway_.Ask(request_).status.ok());
  EXPECT_EQ(FormatPolicy(prefiller_.last.policy),
            FormatPolicy(ParsePolicy("streaming,sinks=7").value()));
  EXPECT_EQ(decoder_.last.max_tokens, kDefaultMaxTokens - 1);
  request_.mutable_policy()->set_kind(v1::POLICY_KIND_RAZOR);
  request_.mutable_policy()->set_window(128);
  request_.mutable_sampling()->set_temperature(0.5f);
  request_.mutable_sampling()->set_seed(12);
  request_.set_ignore_eos(true);
  request_.set_model("the-model");
  request_.set_max_tokens(2);
  const CallOutcome outcome = gateway_.Ask(request_);
  EXPECT_EQ(outcome.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(outcome.tokens.size(), 2);
  EXPECT_EQ(FormatPolicy(prefiller_.last.policy),
            FormatPolicy(ParsePolicy("razor,window=128").value()));
  EXPECT_EQ(prefiller_.last.sampling.temperature, 0.5f);
  EXPECT_EQ(decoder_.last.sampling.seed, 12u);
  EXPECT_TRUE(decoder_.last.ignore_eos);
}

TEST_F(GenerationServiceTest, ForcedTokensAreRated) {
  request_.set_forced_text("Rate this text");
  request_.set_log_probabilities(true);
  const CallOutcome by_text = gateway_.Ask(request_);
  const auto ids =
      tokenizer_->Encode("Rate this text", SpecialTokens::kAsText)->ids;
  EXPECT_THAT(by_text.ids(), ElementsAreArray(ids));
  EXPECT_EQ(by_text.text, "Rate this text");
  EXPECT_EQ(by_text.tokens.front().log_probability(), -0.5f);
  EXPECT_TRUE(by_text.tokens.front().greedy());
  EXPECT_EQ(by_text.tokens.back().log_probability(), -1.5f);
  request_.clear_forced_text();
  request_.clear_log_probabilities();
  request_.mutable_forced_ids()->Assign(ids.begin(), ids.end());
  const CallOutcome by_ids = gateway_.Ask(request_);
  EXPECT_THAT(by_ids.ids(), ElementsAreArray(ids));
  EXPECT_FALSE(by_ids.tokens.front().has_log_probability());
}

TEST_F(GenerationServiceTest, EveryFieldOutOfRangeIsRefusedByName) {
  using grpc::StatusCode;
  struct Case {
    std::function<void(v1::GenerateRequest&)> spoil;
    StatusCode code;
    std::string says;
  };
  const StatusCode bad = StatusCode::INVALID_ARGUMENT;
  using R = v1::GenerateRequest;
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Case> cases = {
      {[](R& r) { r.set_model("other\n"); }, StatusCode::NOT_FOUND,
       "model \"other\\n\" is not served"},
      {[](R& r) { r.clear_prompt(); }, bad, "prompt and messages are empty"},
      {[](R& r) { r.add_messages()->set_role(v1::ROLE_USER); }, bad,
       "prompt and messages are both given"},
      {[](R& r) {
         r.clear_prompt();
         r.add_messages()->set_content("x");
       },
       bad, "messages[0].role is 0"},
      {[](R& r) {
         r.clear_prompt();
         r.add_messages()->set_role(static_cast<v1::Role>(9));
       },
       bad, "messages[0].role is 9"},
      {[](R& r) {
         r.clear_prompt();
         r.add_messages()->set_role(v1::ROLE_USER);
       },
       bad, "messages[0].content is empty"},
      {[](R& r) {
         r.clear_prompt();
         for (int i = 0; i < 1025; ++i) {
           r.add_messages()->set_role(v1::ROLE_USER);
         }
       },
       bad, "messages has 1025 entries"},
      {[](R& r) { r.set_context(std::string(994, 'x')); },
       StatusCode::OUT_OF_RANGE, "1001 bytes; the limit is 1000"},
      {[](R& r) { r.mutable_policy()->set_window(64); }, bad, "policy.kind"},
      {[](R& r) {
         r.mutable_policy()->set_kind(v1::POLICY_KIND_RAZOR);
         r.mutable_policy()->set_window(63);
       },
       bad, "policy: policy parameter window=63"},
      {[](R& r) {
         r.mutable_policy()->set_kind(static_cast<v1::PolicyKind>(77));
       },
       bad, "policy: "},
      {[](R& r) { r.mutable_sampling()->set_temperature(-1); }, bad,
       "sampling: temperature"},
      {[&](R& r) { r.mutable_sampling()->set_top_p(nan); }, bad,
       "sampling: top_p"},
      {[](R& r) { r.mutable_sampling()->set_top_k(-1); }, bad,
       "sampling: top_k"},
      {[](R& r) { r.mutable_sampling()->set_min_p(1.5f); }, bad,
       "sampling: min_p"},
      {[](R& r) { r.mutable_sampling()->set_repetition_penalty(0); }, bad,
       "sampling: repetition_penalty"},
      {[](R& r) { r.set_max_tokens(0); }, bad, "max_tokens is 0"},
      {[](R& r) { r.set_max_tokens(-5); }, bad, "max_tokens is -5"},
      {[](R& r) { r.set_max_tokens(301); }, bad, "at most 300"},
      {[](R& r) { r.add_stop(""); }, bad, "stop[0] has 0 bytes"},
      {[](R& r) { r.add_stop(std::string(257, 'x')); }, bad,
       "stop[0] has 257 bytes"},
      {[](R& r) {
         for (int i = 0; i < 17; ++i) {
           r.add_stop("x");
         }
       },
       bad, "stop has 17 texts"},
      {[](R& r) { r.add_forced_ids(-1); }, bad, "forced_ids[0] is -1"},
      {[](R& r) { r.add_forced_ids(49152); }, bad, "forced_ids[0] is 49152"},
      {[](R& r) { r.mutable_forced_ids()->Resize(301, 1); }, bad,
       "forced_ids is 301"},
      {[](R& r) {
         r.add_forced_ids(1);
         r.set_forced_text("x");
       },
       bad, "forced_ids and forced_text"},
      {[](R& r) {
         r.add_forced_ids(1);
         r.set_max_tokens(1);
       },
       bad, "max_tokens goes with"},
      {[](R& r) {
         r.set_forced_text("x");
         r.add_stop("x");
       },
       bad, "stop goes with"},
  };
  for (const Case& c : cases) {
    v1::GenerateRequest request = request_;
    c.spoil(request);
    const CallOutcome outcome = gateway_.Ask(request);
    EXPECT_EQ(outcome.status.error_code(), c.code) << c.says;
    EXPECT_THAT(outcome.status.error_message(), HasSubstr(c.says));
    EXPECT_EQ(outcome.order, "") << c.says;
  }
  EXPECT_EQ(prefiller_.runs, 0);
  EXPECT_TRUE(gateway_.Ask(request_).status.ok());
}

TEST_F(GenerationServiceTest, ALostCacheIsBuiltAgainUnseenAndCounted) {
  Answer("One two three four five");
  decoder_.failures = {{.after = 2, .status = absl::UnavailableError("gone")}};
  const CallOutcome outcome = gateway_.Ask(request_);
  EXPECT_EQ(outcome.text, "One two three four five");
  EXPECT_EQ(outcome.finished.usage().prefills(), 2);
  EXPECT_EQ(gateway_.metrics().recomputed_prefills.Value(), 1);
  EXPECT_EQ(gateway_.metrics().completion_tokens.Value(), ids_.size());

  decoder_.failures = {{.after = 2, .status = absl::AbortedError("lost")},
                       {.after = 2, .status = absl::AbortedError("lost")}};
  const CallOutcome failed = gateway_.Ask(request_);
  EXPECT_EQ(failed.status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(failed.order, "attt");
  EXPECT_EQ(leases_.releases(), 3);
}

TEST_F(GenerationServiceTest, ACallerWhoGoesEndsDecodeAndLease) {
  Answer("One two three four five six seven eight nine ten");
  decoder_.delay = absl::Milliseconds(30);
  const CallOutcome outcome = gateway_.Ask(
      request_, [](grpc::ClientContext& context) { context.TryCancel(); });
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(gateway_.WaitIdle());
  // Either between two tokens, or when the next one could not be written.
  EXPECT_TRUE(decoder_.saw_cancel || decoder_.stopped);
  EXPECT_EQ(prefiller_.runs, 1);
  EXPECT_EQ(gateway_.metrics().active_streams.Value(), 0);
}

}  // namespace
}  // namespace winnow
