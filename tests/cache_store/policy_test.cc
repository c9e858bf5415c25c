#include "cache_store/plan/policy.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace winnow {
namespace {

using ::testing::HasSubstr;

absl::Status StatusOf(const std::string& text) {
  return ParsePolicy(text).status();
}

void ExpectInvalid(const std::string& text, const std::string& named) {
  const absl::Status status = StatusOf(text);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_THAT(std::string(status.message()), HasSubstr(named)) << text;
}

TEST(PolicyTest, ANameAloneHasTheDefaults) {
  Policy policy;
  EXPECT_EQ(*ParsePolicy("full"), policy);
  policy.kind = PolicyKind::kRazor;
  EXPECT_EQ(*ParsePolicy("razor"), policy);
  policy.kind = PolicyKind::kStreaming;
  EXPECT_EQ(*ParsePolicy("streaming"), policy);
}

TEST(PolicyTest, ReadsEveryParameterOfRazor) {
  const auto policy = ParsePolicy(
      "razor,sinks=8,window=512,window_divisor=5,induction_share=0.2,"
      "echo_share=0.05,echo_min=0.5,echo=off,compensation=on,slack=128,"
      "min_length=64,random_heads=18446744073709551615");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->kind, PolicyKind::kRazor);
  EXPECT_EQ(policy->sinks, 8);
  EXPECT_EQ(policy->window, 512);
  EXPECT_EQ(policy->window_divisor, 5);
  EXPECT_EQ(policy->induction_share, 0.2);
  EXPECT_EQ(policy->echo_share, 0.05);
  EXPECT_EQ(policy->echo_min, 0.5);
  EXPECT_FALSE(policy->echo);
  EXPECT_EQ(policy->compensation, Compensation::kOn);
  EXPECT_EQ(policy->slack, 128);
  EXPECT_EQ(policy->min_length, 64);
  EXPECT_EQ(policy->random_heads, ~uint64_t{0});
}

TEST(PolicyTest, WhatIsWrittenReadsBack) {
  for (const std::string text :
       {"full", "razor", "streaming", "streaming,window=512,sinks=0",
        "razor,window=256,compensation=off",
        "razor,induction_share=0.1,echo_min=1,random_heads=3,echo=off"}) {
    const auto policy = ParsePolicy(text);
    ASSERT_TRUE(policy.ok()) << text << policy.status();
    const auto again = ParsePolicy(FormatPolicy(*policy));
    ASSERT_TRUE(again.ok()) << FormatPolicy(*policy) << again.status();
    EXPECT_EQ(*again, *policy) << text;
  }
}

TEST(PolicyTest, ParametersComeInAFixedOrder) {
  EXPECT_EQ(FormatPolicy(*ParsePolicy("razor,slack=64,window=256,sinks=0")),
            "razor,sinks=0,window=256,window_divisor=0,echo=on,"
            "compensation=profile,slack=64,min_length=1024");
  EXPECT_EQ(FormatPolicy(*ParsePolicy("streaming")),
            "streaming,sinks=4,min_length=1024");
  EXPECT_EQ(FormatPolicy(*ParsePolicy("full")), "full");
}

TEST(PolicyTest, ATypoIsAnsweredWithTheNearestName) {
  ExpectInvalid("rasor", "nearest is razor");
  ExpectInvalid("fulll", "nearest is full");
  ExpectInvalid("razor,widow=256", "nearest is window");
  ExpectInvalid("razor,min_lenght=0", "nearest is min_length");
}

TEST(PolicyTest, APolicyOfTheDesignIsUnimplementedNotUnknown) {
  for (const std::string name : {"local", "scattered", "h2o", "snapkv",
                                 "pyramidkv", "tova", "adakv", "sentinel"}) {
    const absl::Status status = StatusOf(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << name;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("full, razor and streaming"));
  }
}

TEST(PolicyTest, AParameterOfAnotherPolicyIsRefused) {
  ExpectInvalid("streaming,slack=64", "streaming has no parameter slack");
  ExpectInvalid("full,sinks=4", "full has no parameter sinks");
}

TEST(PolicyTest, AParameterGivenTwiceIsRefused) {
  ExpectInvalid("razor,sinks=4,sinks=4", "given twice");
}

TEST(PolicyTest, WindowsAndSlackAreWholeBlocks) {
  ExpectInvalid("razor,window=100", "multiple of 64");
  ExpectInvalid("razor,window=0", "multiple of 64");
  ExpectInvalid("razor,slack=1", "multiple of 64");
  EXPECT_TRUE(ParsePolicy("razor,slack=0").ok());
}

TEST(PolicyTest, RangesAreNamed) {
  ExpectInvalid("razor,sinks=65", "0 to 64");
  ExpectInvalid("razor,window_divisor=65", "0 to 64");
  ExpectInvalid("razor,echo_min=1.5", "0 to 1");
  ExpectInvalid("razor,echo=maybe", "on or off");
  ExpectInvalid("razor,compensation=2", "profile, on or off");
}

TEST(PolicyTest, NumbersAreReadStrictly) {
  for (const std::string number :
       {"nan", "inf", "-1", "+1", " 1", "1 ", "1x", "0x1", "", "1,", "1e",
        "99999999999999999999999"}) {
    EXPECT_FALSE(ParsePolicy("razor,sinks=" + number).ok()) << number;
    EXPECT_FALSE(ParsePolicy("razor,echo_min=" + number).ok()) << number;
  }
  EXPECT_FALSE(ParsePolicy("razor,random_heads=18446744073709551616").ok());
}

TEST(PolicyTest, MalformedListsAreRefused) {
  for (const std::string text : {"", ",", "razor,", "razor,,sinks=4",
                                 "razor,sinks", "razor,=4", "razor sinks=4"}) {
    EXPECT_FALSE(ParsePolicy(text).ok()) << text;
  }
  EXPECT_FALSE(ParsePolicy(std::string(1 << 20, 'r')).ok());
}

}  // namespace
}  // namespace winnow
