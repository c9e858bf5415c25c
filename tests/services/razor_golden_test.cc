// RazorAttention on SmolLM2 against an independent implementation: prefill and
// decode that meet in segments and manifest alone.

#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/prefill/compaction.h"
#include "tests/golden.h"
#include "tests/gpu/model_golden.h"
#include "tests/gpu/smollm2.h"
#include "tests/services/pipeline_fixture.h"

namespace winnow {
namespace {

constexpr int kSinks = 4;
constexpr int kDropped = 956;  // [4, 960) of 1,216 tokens, window 256

std::vector<bool> GoldenHeads(const ModelConfig& config) {
  const nlohmann::json golden = ReadGoldenJson("smollm2/razor.json");
  std::vector<bool> retrieval(
      static_cast<size_t>(config.num_layers) * config.num_kv_heads, false);
  for (const auto& head : golden["retrieval"]) {
    retrieval[head[0].get<int>() * config.num_kv_heads + head[1].get<int>()] =
        true;
  }
  return retrieval;
}

// How far the answer rows are from the golden ones.
struct Distance {
  double worst_top20 = 0;  // largest difference of a logit
  double nll = 0;          // of the answer, minus the golden's
};

class RazorGoldenTest : public testing::Test {
 protected:
  SharedBackend Compute() {
    return {.backend = *node_->backend,
            .gate = gate_,
            .kind = ComputeKind::kDecode};
  }

  void Start(Numerics numerics, KvDtype dtype) {
    store_ = MakeStore(size_t{256} << 20);
    const auto model = LoadModel(FetchedModelPath()).value();
    node_ = std::make_unique<Node>(
        FetchedModelPath(), *store_,
        ProfileOf(model->config(), GoldenHeads(model->config())), numerics,
        dtype);
    context_ = golden_["context_ids"].get<std::vector<int32_t>>();
    tokens_ = golden_["question_ids"].get<std::vector<int32_t>>();
    num_question_ = tokens_.size();
    for (const auto& id : golden_["answer_ids"]) {
      tokens_.push_back(id);
    }
  }

  absl::StatusOr<Manifest> Prefill(std::string_view policy) {
    auto result = node_->prefill->Run({.ids = context_,
                                       .compact_at = std::ssize(context_),
                                       .policy = ParsePolicy(policy).value(),
                                       .sampling = {},
                                       .forced_first = std::nullopt},
                                      {});
    return result.ok() ? absl::StatusOr<Manifest>(std::move(result->manifest))
                       : result.status();
  }

  // Loads the context from the store, runs question and answer over it, and
  // compares the rows that predict the answer with those of `variant`.
  Distance Compare(std::string_view policy, const std::string& variant) {
    Distance distance{.worst_top20 = INFINITY, .nll = INFINITY};
    const auto manifest = Prefill(policy);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    if (!manifest.ok()) {
      return distance;
    }
    const ModelConfig& config = node_->model->config();
    const auto loaded = LoadSequence(Compute(), config, *manifest, *store_,
                                     manifest->lease.id, 2000);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    auto transformer =
        Transformer::Create(*node_->backend, *node_->model, 64).value();
    const SequenceChunk chunk = {.sequence = loaded->sequence.get(),
                                 .ids = tokens_};
    EXPECT_TRUE(transformer->Forward({&chunk, 1}).ok());
    const size_t num_rows = tokens_.size() - num_question_;
    std::vector<float> logits(num_rows * config.vocabulary);
    EXPECT_TRUE(transformer
                    ->Logits(static_cast<int>(num_question_) - 1,
                             static_cast<int>(num_rows), logits.data())
                    .ok());
    EXPECT_TRUE(store_->Release(manifest->lease.id).ok());
    return DistanceOf(logits, config.vocabulary, variant);
  }

  Distance DistanceOf(std::span<const float> logits, int vocabulary,
                      const std::string& variant) {
    const nlohmann::json rows =
        ReadGoldenJson("smollm2/razor_logits.json")[variant];
    Distance distance;
    double nll = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      const auto own = logits.subspan(row * vocabulary, vocabulary);
      for (size_t i = 0; i < 20; ++i) {
        const double golden = rows[row]["logits"][i];
        distance.worst_top20 =
            std::max(distance.worst_top20,
                     std::abs(own[rows[row]["ids"][i].get<int>()] - golden));
      }
      nll += LogSumExp(own) - own[tokens_[num_question_ + row]];
    }
    const double golden_nll = golden_["results"][variant]["answer_nll"];
    distance.nll = nll / static_cast<double>(rows.size()) - golden_nll;
    return distance;
  }

  const nlohmann::json golden_ = ReadGoldenJson("smollm2/razor.json");
  ComputeGate gate_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<Node> node_;
  std::vector<int32_t> context_;
  std::vector<int32_t> tokens_;  // question, then answer
  size_t num_question_ = 0;
};

struct Variant {
  const char* policy;
  const char* golden;
};

class RazorVariantTest : public RazorGoldenTest,
                         public testing::WithParamInterface<Variant> {};

TEST_P(RazorVariantTest, Float32CacheGivesTheReferencesAnswer) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  const Distance distance = Compare(GetParam().policy, GetParam().golden);
  EXPECT_LT(distance.worst_top20, 0.02);
  EXPECT_NEAR(distance.nll, 0, 0.002);
}

TEST_P(RazorVariantTest, Bfloat16CacheStaysNear) {
  Start(Numerics::kFloat32, KvDtype::kBfloat16);
  EXPECT_LT(Compare(GetParam().policy, GetParam().golden).worst_top20, 0.1);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, RazorVariantTest,
    testing::Values(Variant{"full", "full"}, Variant{"razor", "razor"},
                    Variant{"razor,compensation=off",
                            "razor_without_compensation"},
                    Variant{"streaming,window=256", "streaming"}),
    [](const auto& param) { return param.param.golden; });

TEST_F(RazorGoldenTest, KeepsTheReferencesTokens) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  const auto manifest = Prefill("razor");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto loaded = LoadSequence(Compute(), node_->model->config(), *manifest,
                                   *store_, manifest->lease.id, 2000);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::vector<bool> retrieval = GoldenHeads(node_->model->config());
  for (int layer = 0; layer < 30; ++layer) {
    for (int head = 0; head < 3; ++head) {
      const auto tiles = loaded->sequence->Tiles(layer, head);
      if (retrieval[layer * 3 + head]) {
        EXPECT_EQ(tiles.size(), 19u);  // all 1,216 tokens
      } else {
        ASSERT_EQ(tiles.size(), 5u);  // sinks and [960, 1216)
        EXPECT_EQ(tiles.front().count, kSinks);
        EXPECT_EQ(loaded->sequence->NumFolded(layer), kDropped);
      }
    }
  }
}

TEST_F(RazorGoldenTest, CompensationEntriesAreTheReferences) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  const auto manifest = Prefill("razor");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto loaded = LoadSequence(Compute(), node_->model->config(), *manifest,
                                   *store_, manifest->lease.id, 2000);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const GoldenTensors golden("smollm2/razor_compensation.safetensors");
  const auto keys = golden["compensation.k"];
  const auto values = golden["compensation.v"];
  ASSERT_EQ(keys.size(), 30u * 3 * 64);
  const std::vector<bool> retrieval = GoldenHeads(node_->model->config());
  for (int row = 0; row < 90; ++row) {
    const CompensationRef entry =
        loaded->sequence->Compensation(row / 3, row % 3);
    ASSERT_EQ(entry.key == nullptr, retrieval[row]);
    if (retrieval[row]) {
      continue;
    }
    EXPECT_FLOAT_EQ(entry.log_bias, std::log(static_cast<float>(kDropped)));
    for (int dim = 0; dim < 64; ++dim) {
      ASSERT_NEAR(entry.key[dim], keys[row * 64 + dim], 1e-4) << row;
      ASSERT_NEAR(entry.value[dim], values[row * 64 + dim], 1e-4) << row;
    }
  }
}

// Mutations: each must be far from the golden, or the tests above prove
// nothing.

TEST_F(RazorGoldenTest, MissingCompensationWouldBeSeen) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  EXPECT_GT(Compare("razor,compensation=off", "razor").worst_top20, 0.04);
}

TEST_F(RazorGoldenTest, BiasBeforeTheScalingWouldBeSeen) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  // ln(w N_d) = ln(N_d) / sqrt(64) is a bias that was scaled too.
  node_->profile.weights.assign(
      90, std::pow(static_cast<float>(kDropped), 1.0f / 8 - 1));
  EXPECT_GT(Compare("razor", "razor").worst_top20, 0.04);
}

TEST_F(RazorGoldenTest, WindowOffByOneBlockWouldBeSeen) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  EXPECT_GT(Compare("razor,window=192", "razor").worst_top20, 0.04);
  EXPECT_GT(Compare("razor,window=320", "razor").worst_top20, 0.04);
}

TEST_F(RazorGoldenTest, MissingRetrievalHeadWouldBeSeen) {
  Start(Numerics::kFloat32, KvDtype::kFloat32);
  auto& retrieval = node_->profile.retrieval;
  *std::find(retrieval.begin(), retrieval.end(), true) = false;
  EXPECT_GT(Compare("razor", "razor").worst_top20, 0.04);
}

}  // namespace
}  // namespace winnow
