#include "cache_store/plan/head_profile.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"

#include "tests/cache_store/golden_profile.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

std::vector<bool> Select(const nlohmann::json& golden,
                         const HeadSelectionRule& rule) {
  return SelectRetrievalHeads(GoldenScores(golden), 30, 9, 3, rule);
}

// Takes the file of the golden profile and writes it with a changed member,
// with a digest of whatever it holds: only the member can be at fault.
std::string FileWith(const std::string& member, const nlohmann::json& value) {
  nlohmann::json json =
      nlohmann::json::parse(FormatHeadProfile(GoldenProfile()));
  json[nlohmann::json::json_pointer(member)] = value;
  return json.dump();
}

std::string ErrorOf(const std::string& file) {
  const auto profile = ParseHeadProfile(file);
  EXPECT_EQ(profile.status().code(), absl::StatusCode::kInvalidArgument)
      << profile.status();
  return std::string(profile.status().message());
}

TEST(SelectRetrievalHeadsTest, ChoosesTheHeadsOfTheGoldenProfile) {
  const auto golden = ReadGoldenJson("smollm2/profile_scores.json");
  const std::vector<bool> chosen = Select(golden, {});
  EXPECT_EQ(chosen, GoldenClasses(golden["retrieval"]));
  EXPECT_EQ(std::ranges::count(chosen, true), 23);
}

TEST(SelectRetrievalHeadsTest, TheEchoMinimumAddsOneHeadOfTheOtherGolden) {
  const auto golden = ReadGoldenJson("smollm2/head_scores.json");
  EXPECT_EQ(std::ranges::count(Select(golden, {}), true), 24);
}

TEST(SelectRetrievalHeadsTest, WithoutTheEchoMinimumTheyAreThoseOfRazor) {
  const auto golden = ReadGoldenJson("smollm2/head_scores.json");
  const HeadSelectionRule rule = {.echo_min =
                                      std::numeric_limits<double>::infinity()};
  EXPECT_EQ(Select(golden, rule),
            GoldenClasses(golden["retrieval_without_echo_min"]));
}

TEST(SelectRetrievalHeadsTest, EqualScoresGoByLayerAndHead) {
  const std::vector<HeadScores> equal(8, {.echo = 0.1F, .induction = 0.5F});
  const HeadSelectionRule rule = {
      .induction_share = 0.25, .echo_share = 0, .echo_min = 1};
  EXPECT_EQ(SelectRetrievalHeads(equal, 2, 4, 2, rule),
            (std::vector<bool>{true, false, false, false}));
}

TEST(SelectRetrievalHeadsTest, AnyQueryHeadOfAGroupIsEnough) {
  std::vector<HeadScores> scores(8);
  scores[7].echo = 0.9F;
  const HeadSelectionRule rule = {
      .induction_share = 0, .echo_share = 0, .echo_min = 0.3};
  EXPECT_EQ(SelectRetrievalHeads(scores, 2, 4, 2, rule),
            (std::vector<bool>{false, false, false, true}));
}

TEST(HeadProfileTest, ReadsBackWhatItWrites) {
  const HeadProfile profile = GoldenProfile();
  const auto parsed = ParseHeadProfile(FormatHeadProfile(profile));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->model_digest, profile.model_digest);
  EXPECT_EQ(parsed->model_name, profile.model_name);
  EXPECT_EQ(parsed->num_layers, profile.num_layers);
  EXPECT_EQ(parsed->num_heads, profile.num_heads);
  EXPECT_EQ(parsed->num_kv_heads, profile.num_kv_heads);
  ASSERT_EQ(parsed->scores.size(), profile.scores.size());
  for (size_t head = 0; head < profile.scores.size(); ++head) {
    EXPECT_EQ(parsed->scores[head].echo, profile.scores[head].echo);
    EXPECT_EQ(parsed->scores[head].induction, profile.scores[head].induction);
  }
  EXPECT_EQ(parsed->rule, profile.rule);
  EXPECT_EQ(parsed->retrieval, profile.retrieval);
  EXPECT_EQ(parsed->weights, profile.weights);
  EXPECT_EQ(parsed->window, profile.window);
  EXPECT_EQ(parsed->calibration_block, profile.calibration_block);
  EXPECT_EQ(parsed->calibration_repeats, profile.calibration_repeats);
  EXPECT_EQ(parsed->calibration_seed, profile.calibration_seed);
  EXPECT_EQ(parsed->Digest(), profile.Digest());
}

TEST(HeadProfileTest, TheCanonicalFormIsThatOfTheGoldenFile) {
  const std::string golden = ReadGolden("profile_v1.json");
  ASSERT_FALSE(golden.empty());
  const auto profile = ParseHeadProfile(golden);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(FormatHeadProfile(*profile), golden);
}

TEST(HeadProfileTest, CalibrationIdsReadBack) {
  HeadProfile profile = GoldenProfile();
  profile.calibration_ids = {1, 2, 2147483647};
  const auto parsed = ParseHeadProfile(FormatHeadProfile(profile));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->calibration_ids, profile.calibration_ids);
}

TEST(HeadProfileTest, FloatsAreWrittenInTheirShortestForm) {
  HeadProfile profile = GoldenProfile();
  profile.weights[0] = 0.1F;
  EXPECT_THAT(FormatHeadProfile(profile), HasSubstr("\"weights\":[[0.1,"));
}

TEST(HeadProfileTest, TheLayoutOfTheFileDoesNotMatter) {
  const std::string file = FormatHeadProfile(GoldenProfile());
  const std::string spaced = nlohmann::json::parse(file).dump(4);
  EXPECT_TRUE(ParseHeadProfile(spaced).ok());
}

TEST(HeadProfileTest, AnyOtherScoreContradictsTheDigest) {
  EXPECT_THAT(ErrorOf(FileWith("/echo/3/4", 0.25)), HasSubstr("digest"));
  EXPECT_THAT(ErrorOf(FileWith("/window", 512)), HasSubstr("digest"));
  EXPECT_THAT(ErrorOf(FileWith("/weights/29/2", 0.5)), HasSubstr("digest"));
}

TEST(HeadProfileTest, ErrorsNameTheMember) {
  EXPECT_THAT(ErrorOf(FileWith("/window", 100)), HasSubstr("window"));
  EXPECT_THAT(ErrorOf(FileWith("/window", 1e9)), HasSubstr("window"));
  EXPECT_THAT(ErrorOf(FileWith("/num_layers", -1)), HasSubstr("num_layers"));
  EXPECT_THAT(ErrorOf(FileWith("/num_layers", 31)), HasSubstr("echo"));
  EXPECT_THAT(ErrorOf(FileWith("/num_kv_heads", 2)), HasSubstr("num_kv_heads"));
  EXPECT_THAT(ErrorOf(FileWith("/echo/0/0", "x")), HasSubstr("echo"));
  EXPECT_THAT(ErrorOf(FileWith("/echo/0/0", 2.0)), HasSubstr("echo"));
  EXPECT_THAT(ErrorOf(FileWith("/weights/0/0", -1)), HasSubstr("weights"));
  EXPECT_THAT(ErrorOf(FileWith("/weights/0/0", nullptr)), HasSubstr("weights"));
  EXPECT_THAT(ErrorOf(FileWith("/rule/echo_min", -1)), HasSubstr("echo_min"));
  EXPECT_THAT(ErrorOf(FileWith("/model_digest", "ab")),
              HasSubstr("model_digest"));
  EXPECT_THAT(ErrorOf(FileWith("/format_version", 2)),
              HasSubstr("format_version"));
  EXPECT_THAT(ErrorOf(FileWith("/calibration/seed", -1)), HasSubstr("seed"));
  EXPECT_THAT(ErrorOf(FileWith("/extra", 1)), HasSubstr("unknown members"));
}

TEST(HeadProfileTest, RetrievalHeadsMustBeInOrderAndInTheGrid) {
  using Pairs = std::vector<std::vector<int>>;
  EXPECT_THAT(ErrorOf(FileWith("/retrieval", Pairs{{1, 0}, {0, 0}})),
              HasSubstr("retrieval"));
  EXPECT_THAT(ErrorOf(FileWith("/retrieval", Pairs{{1, 0}, {1, 0}})),
              HasSubstr("retrieval"));
  EXPECT_THAT(ErrorOf(FileWith("/retrieval", Pairs{{30, 0}})),
              HasSubstr("retrieval"));
  EXPECT_THAT(ErrorOf(FileWith("/retrieval", Pairs{{0, 3}})),
              HasSubstr("retrieval"));
  EXPECT_THAT(ErrorOf(FileWith("/retrieval", Pairs{{0}})),
              HasSubstr("retrieval"));
}

TEST(HeadProfileTest, EveryMemberMustBeThere) {
  const auto json = nlohmann::json::parse(FormatHeadProfile(GoldenProfile()));
  for (const auto& [member, value] : json.items()) {
    nlohmann::json without = json;
    without.erase(member);
    EXPECT_THAT(ErrorOf(without.dump()), HasSubstr(member));
  }
}

TEST(HeadProfileTest, WhatIsNoJsonIsRefused) {
  for (const std::string file :
       {"", "{", "[]", "null", "\xff", "{\"a\":1e999}"}) {
    EXPECT_FALSE(ParseHeadProfile(file).ok()) << file;
  }
}

TEST(HeadProfileTest, DeepNestingIsRefusedWithoutRecursion) {
  const std::string deep(1 << 20, '[');
  EXPECT_THAT(ErrorOf(deep), HasSubstr("deep"));
  EXPECT_THAT(ErrorOf(deep + std::string(1 << 20, ']')), HasSubstr("deep"));
}

TEST(HeadProfileTest, LoadingSaysWhichFile) {
  EXPECT_EQ(LoadHeadProfile("/nonexistent/profile.json").status().code(),
            absl::StatusCode::kNotFound);
  const std::string path = ::testing::TempDir() + "/profile.json";
  {
    std::ofstream file(path);
    file << FormatHeadProfile(GoldenProfile());
  }
  EXPECT_TRUE(LoadHeadProfile(path).ok());
  {
    std::ofstream file(path);
    file << "{}";
  }
  EXPECT_THAT(std::string(LoadHeadProfile(path).status().message()),
              HasSubstr(path));
  std::remove(path.c_str());
}

TEST(BuiltInProfileTest, AModelWithoutOneIsToldHowToMakeIt) {
  std::array<uint8_t, 32> digest;
  digest.fill(0xee);
  const absl::Status status = FindBuiltInProfile(digest).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("winnow profile"));
}

}  // namespace
}  // namespace winnow
