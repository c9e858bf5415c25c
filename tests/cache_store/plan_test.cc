#include "cache_store/plan/plan.h"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cache_store/golden_profile.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

Plan Make(const std::string& policy, int64_t num_tokens) {
  static const HeadProfile kProfile = GoldenProfile();
  const auto plan =
      MakePlan(*ParsePolicy(policy), &kProfile, kGoldenGrid, num_tokens);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : Plan{};
}

// Entries of all heads, over those of a full cache.
double KeptFraction(const Plan& plan) {
  double kept = 0;
  for (size_t head = 0; head < plan.retrieval.size(); ++head) {
    const int64_t entries =
        plan.num_tokens - plan.NumDropped() +
        (plan.HasAnchor() && plan.weights[head] > 0 ? 1 : 0);
    kept +=
        static_cast<double>(plan.retrieval[head] ? plan.num_tokens : entries);
  }
  return kept / static_cast<double>(plan.num_tokens * plan.grid.size());
}

TEST(PlanTest, DropsAsManyTokensAsTheGoldenContext) {
  const auto golden = ReadGoldenJson("smollm2/retention.json")["razor"];
  const Plan plan =
      Make("razor,window=256", golden["num_tokens"].get<int64_t>());
  EXPECT_EQ(plan.sinks, golden["sinks"].get<int>());
  EXPECT_EQ(plan.window, golden["window"].get<int>());
  EXPECT_EQ(plan.NumDropped(), golden["dropped"].get<int>());
  EXPECT_TRUE(plan.HasAnchor());
}

TEST(PlanTest, KeepsTheFractionsOfTheGoldenDemo) {
  const auto golden = ReadGoldenJson("smollm2/retention.json")["demo"];
  for (const auto& [policy, fraction] : golden["kept_fraction"].items()) {
    // The golden's entry counts where there is one, whatever its weight.
    const bool razor = policy == "razor,window=256";
    const Plan plan = Make(razor ? policy + ",compensation=on" : policy,
                           golden["num_tokens"].get<int64_t>());
    EXPECT_EQ(plan.boundary, golden["boundary"].get<int64_t>());
    EXPECT_NEAR(KeptFraction(plan), fraction.get<double>(), 6e-5) << policy;
  }
}

TEST(PlanTest, FullHasRetrievalHeadsOnlyAndNoAnchor) {
  const auto plan = MakePlan(Policy{}, nullptr, kGoldenGrid, 5000);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->NumRetrieval(), 90);
  EXPECT_FALSE(plan->HasLocalHeads());
  EXPECT_FALSE(plan->HasAnchor());
  EXPECT_EQ(plan->boundary, 4992);
  EXPECT_EQ(plan->window, 0);
  EXPECT_EQ(plan->window_begin, 0);
}

TEST(PlanTest, StreamingNeedsNoProfileAndHasLocalHeadsOnly) {
  const auto plan =
      MakePlan(*ParsePolicy("streaming"), nullptr, kGoldenGrid, 2872);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->NumRetrieval(), 0);
  EXPECT_EQ(plan->window, 1024);
  EXPECT_EQ(plan->window_begin, 1792);
  EXPECT_EQ(plan->weights, std::vector<float>(90, 0));
}

TEST(PlanTest, RazorWithoutAProfileSaysHowToMakeOne) {
  const absl::Status status =
      MakePlan(*ParsePolicy("razor"), nullptr, kGoldenGrid, 5000).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("winnow profile"));
}

TEST(PlanTest, AProfileOfAnotherShapeIsRefused) {
  const HeadProfile profile = GoldenProfile();
  const HeadGrid other = {.num_layers = 30, .num_kv_heads = 4};
  EXPECT_EQ(
      MakePlan(*ParsePolicy("razor"), &profile, other, 5000).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(PlanTest, LengthsAndGridsOutOfRangeAreRefused) {
  EXPECT_FALSE(MakePlan(Policy{}, nullptr, kGoldenGrid, -1).ok());
  EXPECT_FALSE(
      MakePlan(Policy{}, nullptr, kGoldenGrid, kMaxContextTokens + 1).ok());
  EXPECT_FALSE(MakePlan(Policy{}, nullptr, {}, 100).ok());
}

TEST(PlanTest, AShortContextIsKeptAsFull) {
  const Plan plan = Make("razor,window=64", 1023);
  EXPECT_EQ(plan.policy, Policy{});
  EXPECT_FALSE(plan.HasLocalHeads());
  // The boundary counts, not the length: 1,087 tokens have b = 1,024.
  EXPECT_TRUE(Make("razor,window=64", 1024).HasLocalHeads());
  EXPECT_FALSE(Make("razor,window=64,min_length=1025", 1087).HasLocalHeads());
}

TEST(PlanTest, NothingDroppedMeansNoAnchorAndAWindowFromTheStart) {
  const Plan plan = Make("razor,window=64,sinks=64,min_length=0", 130);
  EXPECT_EQ(plan.boundary, 128);
  EXPECT_EQ(plan.window_begin, 0);
  EXPECT_FALSE(plan.HasAnchor());
  EXPECT_EQ(plan.NumDropped(), 0);
  const Plan drops = Make("razor,window=64,sinks=63,min_length=0", 130);
  EXPECT_EQ(drops.window_begin, 64);
  EXPECT_EQ(drops.NumDropped(), 1);
}

TEST(PlanTest, AContextBelowOneBlockHasNothingButATail) {
  const Plan plan = Make("razor,min_length=0", 63);
  EXPECT_EQ(plan.boundary, 0);
  EXPECT_FALSE(plan.HasAnchor());
}

TEST(PlanTest, TheWindowDivisorOnlyWidensTheWindow) {
  EXPECT_EQ(Make("razor,window=256,window_divisor=5", 4096).window, 832);
  EXPECT_EQ(Make("razor,window=1024,window_divisor=5", 4096).window, 1024);
  EXPECT_EQ(Make("razor,window=64,window_divisor=1", 4096).window_begin, 0);
}

TEST(PlanTest, TheWindowIsTheProfilesUnlessGiven) {
  HeadProfile profile = GoldenProfile();
  profile.window = 512;
  EXPECT_EQ(
      MakePlan(*ParsePolicy("razor"), &profile, kGoldenGrid, 4096)->window,
      512);
}

TEST(PlanTest, WeightsFollowTheCompensation) {
  const HeadProfile profile = GoldenProfile();
  const Plan by_profile = Make("razor", 4096);
  const Plan on = Make("razor,compensation=on", 4096);
  const Plan off = Make("razor,compensation=off", 4096);
  for (size_t head = 0; head < 90; ++head) {
    const bool local = !by_profile.retrieval[head];
    EXPECT_EQ(by_profile.weights[head], local ? profile.weights[head] : 0);
    EXPECT_EQ(on.weights[head], local ? 1 : 0);
    EXPECT_EQ(off.weights[head], 0);
  }
}

TEST(PlanTest, OverriddenSharesSelectFromTheScores) {
  const auto golden = ReadGoldenJson("smollm2/profile_scores.json");
  EXPECT_EQ(Make("razor,induction_share=0.14", 4096).retrieval,
            GoldenClasses(golden["retrieval"]));
  EXPECT_EQ(Make("razor,induction_share=1", 4096).NumRetrieval(), 90);
  EXPECT_EQ(Make("razor,induction_share=0,echo=off", 4096).NumRetrieval(), 0);
  EXPECT_LT(Make("razor,echo=off", 4096).NumRetrieval(), 23);
}

TEST(PlanTest, WithoutLocalHeadsThereIsNoWindow) {
  const Plan plan = Make("razor,induction_share=1", 4096);
  EXPECT_EQ(plan.window, 0);
  EXPECT_FALSE(plan.HasAnchor());
  EXPECT_EQ(VisibleBegin(plan, 1 << 20), 0);
}

TEST(PlanTest, RandomHeadsAreAsManyAndFollowTheirSeed) {
  const Plan first = Make("razor,random_heads=1", 4096);
  EXPECT_EQ(first.NumRetrieval(), 23);
  EXPECT_EQ(first.retrieval, Make("razor,random_heads=1", 4096).retrieval);
  EXPECT_NE(first.retrieval, Make("razor,random_heads=2", 4096).retrieval);
  EXPECT_NE(first.retrieval, Make("razor", 4096).retrieval);
}

TEST(VisibleBeginTest, MovesByWholeBlocksAfterWindowAndSlack) {
  const Plan plan = Make("razor,window=256", 2872);  // b = 2,816
  EXPECT_EQ(plan.window_begin, 2560);
  EXPECT_EQ(VisibleBegin(plan, 2872), 2560);
  EXPECT_EQ(VisibleBegin(plan, 2560 + 64 + 512 - 1), 2560);
  EXPECT_EQ(VisibleBegin(plan, 2560 + 64 + 512), 2624);
}

TEST(VisibleBeginTest, HoldsWithoutAnAnchorToo) {
  const Plan plan = Make("razor,window=256,min_length=0", 200);
  EXPECT_FALSE(plan.HasAnchor());
  EXPECT_EQ(VisibleBegin(plan, 512 + 63), 0);
  EXPECT_EQ(VisibleBegin(plan, 512 + 64), 64);
}

TEST(VisibleBeginTest, AgreesWithTheFoldRuleOfThePlan) {
  const Plan plan = Make("razor,window=256", 2872);
  for (int64_t position = 2816; position < 6000; ++position) {
    ASSERT_EQ(VisibleBegin(plan, position),
              std::max<int64_t>(2560, (position - 512) / 64 * 64));
    ASSERT_EQ(VisibleBegin(plan, position),
              plan.fold_rule().VisibleBegin(position));
  }
}

}  // namespace
}  // namespace winnow
