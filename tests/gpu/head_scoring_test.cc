#include "gpu/model/head_scoring.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/golden.h"
#include "tests/gpu/model_golden.h"
#include "tests/gpu/smollm2.h"

namespace winnow {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

std::vector<float> Flatten(const nlohmann::json& rows) {
  std::vector<float> values;
  for (const auto& row : rows) {
    for (const auto& value : row) {
      values.push_back(value.get<float>());
    }
  }
  return values;
}

class HeadScoringGoldenTest
    : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(HeadScoringGoldenTest, ScoresAreThoseOfTheReference) {
  const auto [ids_file, scores_file] = GetParam();
  const auto ids = ReadGoldenJson(ids_file);
  const auto scores = ReadGoldenJson(scores_file);
  const auto model = LoadModel(FetchedModelPath()).value();
  const auto backend =
      CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
  const auto table = ScoreHeads(*backend, *model,
                                {.ids = ids["ids"].get<std::vector<int32_t>>(),
                                 .block = ids["block"],
                                 .repeats = ids["repeats"]});
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->echo,
              Pointwise(FloatNear(1e-4f), Flatten(scores["echo"])));
  EXPECT_THAT(table->induction,
              Pointwise(FloatNear(1e-4f), Flatten(scores["induction"])));
}

INSTANTIATE_TEST_SUITE_P(
    Texts, HeadScoringGoldenTest,
    testing::Values(
        std::pair("smollm2/profile_500x4.json", "smollm2/profile_scores.json"),
        std::pair("smollm2/head_scores_ids.json", "smollm2/head_scores.json")));

TEST(CalibrationTextTest, RepeatsDistinctNormalTokens) {
  const auto model = LoadModel(FetchedModelPath()).value();
  const auto text = MakeCalibrationText(*model, 500, 4, 7);
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_EQ(text->ids.size(), 2000u);
  const std::set<int32_t> distinct(text->ids.begin(), text->ids.begin() + 500);
  EXPECT_EQ(distinct.size(), 500u);
  for (size_t i = 500; i < 2000; ++i) {
    ASSERT_EQ(text->ids[i], text->ids[i - 500]);
  }
  for (const int32_t id : distinct) {
    EXPECT_EQ(model->tokenizer_source().kinds[id], TokenKind::kNormal);
  }
}

TEST(CalibrationTextTest, SeedDecidesTheTokens) {
  const auto model = LoadModel(FetchedModelPath()).value();
  EXPECT_EQ(MakeCalibrationText(*model, 50, 2, 7)->ids,
            MakeCalibrationText(*model, 50, 2, 7)->ids);
  EXPECT_NE(MakeCalibrationText(*model, 50, 2, 7)->ids,
            MakeCalibrationText(*model, 50, 2, 8)->ids);
}

TEST(CalibrationTextTest, RefusesMoreThanTheModelsContext) {
  const auto model = LoadModel(FetchedModelPath()).value();
  EXPECT_EQ(MakeCalibrationText(*model, 2500, 4, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
