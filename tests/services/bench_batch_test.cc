#include "services/bench/bench_batch.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "services/bench/bench_attention.h"
#include "services/bench/bench_roofs.h"
#include "tests/gpu/smollm2.h"

namespace winnow {
namespace {

std::string TinyModelPath() {
  return std::string(WINNOW_GOLDEN_DIR) + "/tiny/llama";
}

class BenchBatchTest : public testing::Test {
 protected:
  void Start(uint64_t store_bytes) {
    engine_ = Engine::Create({.model_path = FetchedModelPath(),
                              .profile_path = "",
                              .num_threads = 2,
                              .store_bytes = store_bytes})
                  .value();
    roofs_ = RoofMeter::Create(engine_->backend(), engine_->model(), 2,
                               size_t{1} << 20)
                 .value();
  }

  BatchBenchOptions Options() const {
    Policy streaming = ParsePolicy("streaming,sinks=4,window=128").value();
    streaming.min_length = 0;
    return {.policies = {Policy(), streaming},
            .sequences = 3,
            .context_tokens = 300,
            .steps = 5,
            .repeats = 2,
            .wait_quiet = {}};
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RoofMeter> roofs_;
};

TEST_F(BenchBatchTest, AllSequencesTakePartInEveryStep) {
  Start(size_t{64} << 20);
  const auto figures = BenchBatch(*engine_, *roofs_, Options()).value();
  ASSERT_EQ(figures.size(), 2);
  for (const BatchFigures& each : figures) {
    EXPECT_EQ(each.mean_batch, 3);
    EXPECT_EQ(each.sequences, 3);
    EXPECT_EQ(each.plan.num_tokens, 300);
    EXPECT_GT(each.decode_tokens_per_s.min, 0);
    EXPECT_GT(each.roof_tokens_per_s, 0);
  }
  EXPECT_EQ(figures[0].plan.policy.kind, PolicyKind::kFull);
  EXPECT_EQ(figures[1].plan.policy.kind, PolicyKind::kStreaming);
}

// Weights once, and 302 tokens on average in every head of every sequence.
TEST_F(BenchBatchTest, AStepReadsWeightsOnceAndEveryCache) {
  Start(size_t{64} << 20);
  const auto figures = BenchBatch(*engine_, *roofs_, Options()).value();
  const ModelConfig& config = engine_->model().config();
  const auto bytes_per_token =
      2.0 * 2 * config.head_dim * config.num_kv_heads * config.num_layers;
  const auto weights =
      static_cast<double>(DecodeWeightBytes(engine_->model().weights()));
  EXPECT_EQ(figures[0].step_read_bytes, weights + 3 * 302 * bytes_per_token);
  EXPECT_LT(figures[1].step_read_bytes, figures[0].step_read_bytes);
}

TEST_F(BenchBatchTest, LeavesTheStoreEmpty) {
  Start(size_t{64} << 20);
  ASSERT_TRUE(BenchBatch(*engine_, *roofs_, Options()).ok());
  const StoreStats stats = engine_->store().GetStats().value();
  EXPECT_GT(stats.written_bytes, 0);
  EXPECT_EQ(stats.segments, 0);
  EXPECT_EQ(stats.leases, 0);
}

TEST_F(BenchBatchTest, AStoreForOneSequenceIsRefused) {
  Start(size_t{256} << 10);
  EXPECT_EQ(BenchBatch(*engine_, *roofs_, Options()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(BenchBatchTest, TokensBeyondTheModelAreRefused) {
  Start(size_t{1} << 20);
  BatchBenchOptions options = Options();
  options.context_tokens = engine_->model().config().context_limit;
  EXPECT_EQ(BenchBatch(*engine_, *roofs_, options).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(RazorStepLengthsTest, OneHeadOfThreeKeepsAll) {
  const std::vector<int> lengths = RazorStepLengths();
  ASSERT_EQ(lengths.size(), kStepRows);
  for (size_t row = 0; row < lengths.size(); ++row) {
    if (row % 3 == 0) {
      EXPECT_EQ(lengths[row], 4096);
    } else {  // 4 first tokens, 1 entry, 256 of a window, less than a block
      EXPECT_GE(lengths[row], 261);
      EXPECT_LT(lengths[row], 261 + kBlockTokens);
    }
  }
}

TEST(BenchAttentionTest, EveryGroupReadsWhatFillsTheMemory) {
  const auto model = LoadModel(TinyModelPath()).value();
  const auto backend = CreateCpuBackend({}).value();
  constexpr size_t kMemory = size_t{8} << 20;
  const auto roofs = RoofMeter::Create(*backend, *model, 2, kMemory).value();
  const auto figures =
      BenchAttention(
          *backend, *roofs,
          {.head_dim = 64, .groups = {2, 5}, .repeats = 2, .wait_quiet = {}})
          .value();
  ASSERT_EQ(figures.size(), 2);
  EXPECT_EQ(figures[0].group, 2);
  EXPECT_EQ(figures[1].group, 5);
  for (const AttentionFigures& each : figures) {
    EXPECT_EQ(each.read_bytes, each.num_tokens * 2 * 64 * 2);
    EXPECT_LE(each.read_bytes, kMemory);
    EXPECT_GT(each.read_bytes, kMemory / 2);
    EXPECT_GT(each.ragged_equal_time_ratio.min, 0);
    EXPECT_GT(each.razor_bytes_per_s.min, 0);
    EXPECT_GT(each.razor_equal_bytes_per_s.min, 0);
    EXPECT_GT(each.razor_equal_time_ratio.min, 0);
  }
}

}  // namespace
}  // namespace winnow
