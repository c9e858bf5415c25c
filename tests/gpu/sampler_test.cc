#include "gpu/model/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/cpu/cpu_backend.h"

namespace winnow {
namespace {

// Probabilities 8/15, 4/15, 2/15, 1/15.
const std::vector<float> kLogits = {std::log(2.0f), std::log(8.0f),
                                    std::log(1.0f), std::log(4.0f)};

class SamplerTest : public testing::Test {
 protected:
  TokenChoice Choose(const SamplingParameters& parameters, int64_t position,
                     std::vector<int32_t> previous = {},
                     std::optional<int32_t> forced = std::nullopt) {
    Sampler sampler(*backend_, parameters);
    return sampler.Choose(kLogits, position, previous, forced).value();
  }

  // How often each id is drawn over many positions.
  std::map<int32_t, int> Histogram(const SamplingParameters& parameters,
                                   int draws) {
    std::map<int32_t, int> counts;
    for (int i = 0; i < draws; ++i) {
      ++counts[Choose(parameters, i).id];
    }
    return counts;
  }

  const std::unique_ptr<Backend> backend_ = CreateReferenceBackend();
};

TEST_F(SamplerTest, TemperatureZeroTakesTheLargestLogit) {
  const TokenChoice choice = Choose({}, 0);
  EXPECT_EQ(choice.id, 1);
  EXPECT_TRUE(choice.greedy);
  EXPECT_NEAR(choice.log_probability, std::log(8.0 / 15), 1e-6);
}

TEST_F(SamplerTest, ForcedTokenIsRatedNotChosen) {
  const TokenChoice choice = Choose({}, 0, {}, 2);
  EXPECT_EQ(choice.id, 2);
  EXPECT_FALSE(choice.greedy);
  EXPECT_NEAR(choice.log_probability, std::log(1.0 / 15), 1e-6);
}

TEST_F(SamplerTest, ForcedTokenOutOfTheVocabularyIsRefused) {
  Sampler sampler(*backend_, {});
  for (const int32_t id : {-1, 4}) {
    EXPECT_EQ(sampler.Choose(kLogits, 0, {}, id).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(SamplerTest, TemperatureOneDrawsByTheModelsProbabilities) {
  const auto counts = Histogram({.temperature = 1, .seed = 1}, 15000);
  EXPECT_NEAR(counts.at(1), 8000, 400);
  EXPECT_NEAR(counts.at(3), 4000, 300);
  EXPECT_NEAR(counts.at(0), 2000, 250);
  EXPECT_NEAR(counts.at(2), 1000, 200);
}

TEST_F(SamplerTest, TopKKeepsTheKLikeliest) {
  const auto counts =
      Histogram({.temperature = 1, .top_k = 2, .seed = 2}, 3000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts.at(1), 2000, 150);
}

TEST_F(SamplerTest, TopPKeepsTheSmallestSetOfThatMass) {
  // 8/15 alone is less than 0.6; with 4/15 it is enough.
  const auto counts =
      Histogram({.temperature = 1, .top_p = 0.6f, .seed = 3}, 3000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts.at(1), 2000, 150);
}

TEST_F(SamplerTest, MinPKeepsWhatIsNotFarBelowTheLikeliest) {
  // 2/15 is a quarter of 8/15, 1/15 an eighth.
  const auto counts =
      Histogram({.temperature = 1, .min_p = 0.2f, .seed = 4}, 3500);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_NEAR(counts.at(0), 500, 120);
}

TEST_F(SamplerTest, LowTemperatureSharpens) {
  const auto counts = Histogram({.temperature = 0.5f, .seed = 5}, 8500);
  EXPECT_NEAR(counts.at(1), 6400, 300);  // 64 of 64 + 16 + 4 + 1
}

TEST_F(SamplerTest, PenaltyMovesRepeatedTokensDown) {
  // log 8 / 2 < log 4.
  EXPECT_EQ(Choose({.repetition_penalty = 2}, 0, {1}).id, 3);
}

TEST_F(SamplerTest, PenaltyForgetsTokensBeyondItsReach) {
  std::vector<int32_t> previous = {1};
  previous.insert(previous.end(), kPenaltyTokens, 2);
  EXPECT_EQ(Choose({.repetition_penalty = 2}, 0, previous).id, 1);
}

TEST_F(SamplerTest, PenaltyLeavesTheLogProbabilityTheModels) {
  const TokenChoice choice = Choose({.repetition_penalty = 2}, 0, {1});
  EXPECT_NEAR(choice.log_probability, std::log(4.0 / 15), 1e-6);
  EXPECT_FALSE(choice.greedy);
}

TEST_F(SamplerTest, SameSeedAndPositionDrawTheSameToken) {
  for (int position = 0; position < 50; ++position) {
    EXPECT_EQ(Choose({.temperature = 1, .seed = 6}, position).id,
              Choose({.temperature = 1, .seed = 6}, position).id);
  }
}

TEST_F(SamplerTest, LogitsThatAreNotNumbersAreAnError) {
  const std::vector<float> logits = {0, std::numeric_limits<float>::quiet_NaN(),
                                     1};
  Sampler sampler(*backend_, {});
  EXPECT_EQ(sampler.Choose(logits, 0, {}, std::nullopt).status().code(),
            absl::StatusCode::kInternal);
}

TEST(SamplingParametersTest, RefusesWhatIsOutOfRangeByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::pair<SamplingParameters, const char*> cases[] = {
      {{.temperature = nan}, "temperature"},
      {{.temperature = -1}, "temperature"},
      {{.temperature = 101}, "temperature"},
      {{.top_k = -1}, "top_k"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = nan}, "top_p"},
      {{.min_p = 1.5f}, "min_p"},
      {{.repetition_penalty = 0}, "repetition_penalty"},
      {{.repetition_penalty = nan}, "repetition_penalty"}};
  for (const auto& [parameters, name] : cases) {
    const absl::Status status = ValidateSampling(parameters);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), ::testing::StartsWith(name));
  }
}

}  // namespace
}  // namespace winnow
