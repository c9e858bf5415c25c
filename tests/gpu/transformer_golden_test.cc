// The forward pass against logits and caches of transformers (float32).

#include <algorithm>
#include <span>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/model/resident_model.h"
#include "gpu/model/transformer.h"
#include "tests/golden.h"
#include "tests/gpu/model_golden.h"
#include "tests/gpu/smollm2.h"

namespace winnow {
namespace {

using ::testing::ElementsAreArray;
using ::testing::FloatNear;
using ::testing::Pointwise;

class TinyModelTest : public testing::TestWithParam<std::string> {
 protected:
  TinyModelTest()
      : folder_("tiny/" + GetParam()),
        model_(
            LoadModel(std::string(WINNOW_GOLDEN_DIR) + "/" + folder_).value()),
        backend_(CreateCpuBackend({.numerics = Numerics::kFloat32}).value()),
        golden_(ReadGoldenJson(folder_ + "/golden.json")) {}

  const std::string folder_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<Backend> backend_;
  const nlohmann::json golden_;
};

TEST_P(TinyModelTest, LogitsAreThoseOfTheReference) {
  const auto ids = golden_["ids"].get<std::vector<int32_t>>();
  const GoldenTensors tensors(folder_ + "/golden_logits.safetensors");
  ASSERT_TRUE(tensors.ok());
  const std::vector<float> logits =
      AllLogits(*backend_, *model_, KvDtype::kFloat32, ids, 128);
  EXPECT_THAT(logits, Pointwise(FloatNear(1e-3f), tensors["logits"]));
}

TEST_P(TinyModelTest, ReferenceBackendGivesTheSameLogits) {
  auto ids = golden_["ids"].get<std::vector<int32_t>>();
  ids.resize(70);
  const GoldenTensors tensors(folder_ + "/golden_logits.safetensors");
  const std::unique_ptr<Backend> plain = CreateReferenceBackend();
  const std::vector<float> logits =
      AllLogits(*plain, *model_, KvDtype::kFloat32, ids, 33);
  ASSERT_FALSE(logits.empty());
  EXPECT_THAT(logits, Pointwise(FloatNear(1e-3f),
                                tensors["logits"].first(logits.size())));
}

TEST_P(TinyModelTest, GreedyContinuationIsThatOfTheReference) {
  auto ids = golden_["ids"].get<std::vector<int32_t>>();
  ids.resize(40);
  const auto expected = golden_["greedy_after_40"].get<std::vector<int32_t>>();
  EXPECT_THAT(
      Greedy(*backend_, *model_, KvDtype::kFloat32, ids, expected.size()),
      ElementsAreArray(expected));
}

INSTANTIATE_TEST_SUITE_P(Families, TinyModelTest,
                         testing::Values("llama", "llama3_rope_scaling",
                                         "qwen2", "qwen3"),
                         [](const auto& param) { return param.param; });

class SmolLm2Test : public testing::TestWithParam<int> {
 protected:
  SmolLm2Test()
      : model_(LoadModel(FetchedModelPath()).value()),
        golden_(ReadGoldenJson("smollm2/logits.json")[GetParam()]),
        ids_(golden_["ids"].get<std::vector<int32_t>>()) {}

  const std::unique_ptr<Model> model_;
  const nlohmann::json golden_;
  const std::vector<int32_t> ids_;
};

TEST_P(SmolLm2Test, Float32ModeGivesTheReferencesLogits) {
  const auto backend =
      CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
  const std::vector<float> logits =
      AllLogits(*backend, *model_, KvDtype::kFloat32, ids_, 512);
  const int vocabulary = model_->config().vocabulary;
  ASSERT_EQ(logits.size(), ids_.size() * vocabulary);
  EXPECT_NEAR(MeanNll(logits, ids_, vocabulary),
              golden_["mean_nll"].get<double>(), 0.001);
  const auto last = std::span(logits).last(vocabulary);
  for (size_t i = 0; i < 20; ++i) {
    const int32_t id = golden_["last_top20_ids"][i];
    EXPECT_NEAR(last[id], golden_["last_top20_logits"][i].get<float>(), 0.02)
        << "token " << id;
  }
}

TEST_P(SmolLm2Test, Float32ModeContinuesGreedilyAsTheReference) {
  const auto backend =
      CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
  const auto expected = golden_["greedy24"].get<std::vector<int32_t>>();
  EXPECT_THAT(
      Greedy(*backend, *model_, KvDtype::kFloat32, ids_, expected.size()),
      ElementsAreArray(expected));
}

INSTANTIATE_TEST_SUITE_P(Prompts, SmolLm2Test, testing::Range(0, 5));

// Fast mode over the longest golden, with the weights as they are served.
class SmolLm2FastTest : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override {
    if (GetParam() > DetectCpuLevel().value()) {
      GTEST_SKIP() << "this machine has no such instructions";
    }
    ASSERT_EQ(ids_.size(), 1117u);
  }

  // Teacher-forced: the mean NLL within 0.02 of the golden one, and another
  // largest logit only where the largest two of float32 mode are `gap` apart
  // at most.
  void ExpectNear(size_t chunk_tokens, float gap) {
    const auto backend =
        CreateCpuBackend({.numerics = Numerics::kFast, .max_level = GetParam()})
            .value();
    const auto model =
        MakeResident(*backend, LoadModel(FetchedModelPath()).value()).value();
    const std::vector<float> logits =
        AllLogits(*backend, *model, KvDtype::kBfloat16, ids_, chunk_tokens);
    const auto vocabulary = static_cast<size_t>(model->config().vocabulary);
    ASSERT_EQ(logits.size(), ids_.size() * vocabulary);
    EXPECT_NEAR(MeanNll(logits, ids_, static_cast<int>(vocabulary)),
                golden_["mean_nll"].get<double>(), 0.02);
    const std::vector<float>& exact = Float32Logits();
    for (size_t token = 0; token < ids_.size(); ++token) {
      const auto row = std::span(exact).subspan(token * vocabulary, vocabulary);
      const auto fast =
          std::span(logits).subspan(token * vocabulary, vocabulary);
      const auto chosen = std::ranges::max_element(fast) - fast.begin();
      EXPECT_LE(std::ranges::max(row) - row[static_cast<size_t>(chosen)], gap)
          << "token " << token;
    }
  }

 private:
  // Computed once for all levels; SmolLm2Test compares it with the goldens.
  const std::vector<float>& Float32Logits() const {
    static const auto* const kLogits = new std::vector<float>([&] {
      const auto backend =
          CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
      return AllLogits(*backend, *LoadModel(FetchedModelPath()).value(),
                       KvDtype::kFloat32, ids_, 512);
    }());
    return *kLogits;
  }

  const nlohmann::json golden_ = ReadGoldenJson("smollm2/logits.json")[4];
  const std::vector<int32_t> ids_ = golden_["ids"].get<std::vector<int32_t>>();
};

TEST_P(SmolLm2FastTest, ChoosesAsFloat32Does) {
  {
    SCOPED_TRACE("many tokens at once");
    ExpectNear(512, 0.05f);
  }
  SCOPED_TRACE("one token at a time");
  ExpectNear(1, 0.05f);
}

INSTANTIATE_TEST_SUITE_P(Levels, SmolLm2FastTest,
                         testing::ValuesIn(kCpuLevels));

// Dimension of the golden's half-split order for one of the file's interleaved
// order: pair i is (2i, 2i + 1) there and (i, i + d / 2) here.
int HalfSplit(int dim, int head_dim) {
  return dim / 2 + (dim % 2 == 0 ? 0 : head_dim / 2);
}

TEST(SmolLm2CacheTest, KeysAndValuesAreThoseOfTheReference) {
  const auto model = LoadModel(FetchedModelPath()).value();
  const auto backend =
      CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
  const auto ids =
      ReadGoldenJson("smollm2/kv.json")["ids"].get<std::vector<int32_t>>();
  const GoldenTensors golden("smollm2/kv.safetensors");
  auto transformer =
      Transformer::Create(*backend, *model, static_cast<int>(ids.size()))
          .value();
  auto sequence = FullSequence(*backend, model->config(), KvDtype::kFloat32,
                               std::ssize(ids));
  const SequenceChunk chunk = {.sequence = sequence.get(), .ids = ids};
  ASSERT_TRUE(transformer->Forward({&chunk, 1}).ok());

  const KvTileShape shape = sequence->options().tile;
  for (const int layer : {0, 14, 29}) {
    const auto keys = golden[absl::StrCat("k.", layer)];
    const auto values = golden[absl::StrCat("v.", layer)];
    ASSERT_EQ(keys.size(), 3 * ids.size() * 64);
    double worst = 0;
    for (int head = 0; head < 3; ++head) {
      for (size_t token = 0; token < ids.size(); ++token) {
        const auto* tile = static_cast<const float*>(sequence->BlockTile(
            layer, head, static_cast<int64_t>(token / kBlockTokens)));
        const int slot = static_cast<int>(token % kBlockTokens);
        for (int dim = 0; dim < 64; ++dim) {
          const size_t row = (head * ids.size() + token) * 64;
          worst = std::max<double>({worst,
                                    std::abs(tile[shape.KeyIndex(slot, dim)] -
                                             keys[row + HalfSplit(dim, 64)]),
                                    std::abs(tile[shape.ValueIndex(slot, dim)] -
                                             values[row + dim])});
        }
      }
    }
    EXPECT_LT(worst, 5e-3) << "layer " << layer;
  }
}

}  // namespace
}  // namespace winnow
