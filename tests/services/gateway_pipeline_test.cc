// The gateway over real pipelines, on SmolLM2: what the caller gets is what
// the same process gives without a server.

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "services/common/wire.h"
#include "tests/services/gateway_fixture.h"
#include "tests/services/pipeline_fixture.h"

namespace winnow {
namespace {

class GatewayPipelineTest : public testing::Test {
 protected:
  GatewayPipelineTest()
      : store_(MakeStore(size_t{256} << 20)),
        node_(FetchedModelPath(), *store_, Profile(), Numerics::kFast,
              KvDtype::kBfloat16),
        tokenizer_(Tokenizer::Create(node_.model->tokenizer_source()).value()),
        gateway_(Roles(), *node_.model, *tokenizer_, {}) {
    for (int i = 0; i < 40; ++i) {
      absl::StrAppend(&context_, "Item ", i, " of the list is number ",
                      i * 37 % 100, ". ");
    }
    request_.set_context(context_);
    request_.set_prompt("Which numbers are in the list?");
    request_.set_max_tokens(12);
    request_.set_ignore_eos(true);
    request_.set_log_probabilities(true);
  }

  // Every third KV head is a retrieval head.
  static HeadProfile Profile() {
    const ModelConfig config = LoadModel(FetchedModelPath()).value()->config();
    std::vector<bool> retrieval(static_cast<size_t>(config.num_layers) *
                                config.num_kv_heads);
    for (size_t i = 0; i < retrieval.size(); i += 3) {
      retrieval[i] = true;
    }
    return ProfileOf(config, retrieval);
  }

  GenerationRoles Roles() {
    return {.prefiller = *node_.prefill,
            .decoder = *node_.decode,
            .store = store_.get(),
            .config = node_.model->config()};
  }

  // The same without a server.
  GenerationResult InProcess(const Policy& policy) {
    PromptText text;
    text.context = context_;
    text.prompt = request_.prompt();
    GenerationRequest request;
    request.prompt = TokenizePrompt(*node_.model, *tokenizer_, text).value();
    request.policy = policy;
    request.max_tokens = request_.max_tokens();
    request.ignore_eos = true;
    return Generate(Roles(), request, {},
                    [](const TokenChoice&) { return true; })
        .value();
  }

  const std::unique_ptr<KvStore> store_;
  Node node_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  std::string context_;
  v1::GenerateRequest request_;
  TestGateway gateway_;
};

TEST_F(GatewayPipelineTest, GivesWhatTheProcessGivesWithoutAServer) {
  for (const char* name : {"full", "razor,window=64,min_length=0",
                           "streaming,window=128,min_length=0"}) {
    const Policy policy = ParsePolicy(name).value();
    const GenerationResult expected = InProcess(policy);
    std::vector<int32_t> ids;
    for (const TokenChoice& token : expected.tokens) {
      ids.push_back(token.id);
    }
    ToWire(policy, request_.mutable_policy());
    const CallOutcome outcome = gateway_.Ask(request_);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
    EXPECT_EQ(outcome.ids(), ids) << name;
    EXPECT_EQ(outcome.text, tokenizer_->Decode(ids, false)) << name;
    EXPECT_EQ(outcome.tokens.back().log_probability(),
              expected.tokens.back().log_probability);
    EXPECT_EQ(outcome.accepted.context_tokens(), expected.context_tokens);
    const v1::Usage& usage = outcome.finished.usage();
    EXPECT_EQ(usage.prompt_tokens(), expected.prompt_tokens);
    EXPECT_EQ(usage.kv_full_bytes(), expected.kv.full);
    EXPECT_EQ(usage.kv_stored_bytes(), expected.kv.stored);
    EXPECT_EQ(usage.kv_pulled_bytes(), expected.kv.pulled);
    EXPECT_GT(usage.reused_tokens(), 0);  // what the first run left
    EXPECT_EQ(FromWire(outcome.finished.policy())->window,
              expected.policy.policy.window);
    EXPECT_EQ(outcome.finished.retrieval_heads(), expected.plan.NumRetrieval());
    EXPECT_EQ(outcome.finished.kv_heads(), expected.plan.grid.size());
  }
  EXPECT_EQ(store_->GetStats()->leases, 0u);
}

TEST_F(GatewayPipelineTest, NothingIsLeftOfACallerWhoGoes) {
  request_.set_max_tokens(1000);
  int tokens = 0;
  const CallOutcome outcome =
      gateway_.Ask(request_, [&](grpc::ClientContext& context) {
        if (++tokens == 3) {
          context.TryCancel();
        }
      });
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(gateway_.WaitIdle());
  EXPECT_EQ(store_->GetStats()->leases, 0u);
  EXPECT_EQ(store_->GetStats()->reserved_bytes, 0u);
  EXPECT_EQ(node_.decode->Snapshot().running, 0);
  EXPECT_EQ(node_.prefill->Snapshot().running, 0);
}

TEST_F(GatewayPipelineTest, AnAnswerThatIsTooLongIsRefusedBeforePrefill) {
  request_.set_max_tokens(8192);
  const CallOutcome outcome = gateway_.Ask(request_);
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(outcome.order, "");
}

}  // namespace
}  // namespace winnow
