// Every backend's elementwise operations, sampling and memory against the plain
// loops.  The other operations: linear_, attention_, attention_mass_ and
// packing_parity_test.cc.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"

#include "tests/contract/backend_fixture.h"
#include "tests/contract/random_floats.h"

namespace winnow {
namespace {

using testing::HasSubstr;

constexpr unsigned kSeed = 20240817;

class ElementwiseParityTest : public BackendTest {
 protected:
  // Relative to the values' size; float32 arithmetic with some roundings.
  static void ExpectClose(const std::vector<float>& actual,
                          const std::vector<float>& expected,
                          double tolerance) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i],
                  tolerance * (1e-3 + std::abs(expected[i])))
          << "element " << i;
    }
  }
};

TEST_P(ElementwiseParityTest, RmsNormMatches) {
  for (const int cols : {1, 3, 17, 576, 1000}) {
    for (const int rows : {0, 1, 2, 33}) {
      const auto input = RandomFloats(int64_t{rows} * cols + 1, kSeed);
      const auto scale = RandomFloats(cols, kSeed + 1);
      std::vector<float> actual(input.size() - 1);
      std::vector<float> expected(input.size() - 1);
      RmsNormArgs args{.input = input.data() + 1,
                       .scale = scale.data(),
                       .output = actual.data(),
                       .rows = rows,
                       .cols = cols,
                       .epsilon = 1e-5f};
      if (rows == 0) {
        args.output = const_cast<float*>(scale.data());
      }
      ASSERT_TRUE(backend().RmsNorm(args).ok());
      args.output = rows == 0 ? args.output : expected.data();
      ASSERT_TRUE(reference().RmsNorm(args).ok());
      ExpectClose(actual, expected, 2e-6);
      // In place.
      std::vector<float> in_place(input.begin() + 1, input.end());
      if (rows > 0) {
        args.input = args.output = in_place.data();
        ASSERT_TRUE(backend().RmsNorm(args).ok());
        EXPECT_EQ(in_place, actual);
      }
    }
  }
}

TEST_P(ElementwiseParityTest, RotaryMatchesForBothPairings) {
  for (const RotaryPairs pairs :
       {RotaryPairs::kHalves, RotaryPairs::kInterleaved}) {
    for (const int head_dim : {2, 6, 64, 80, 256}) {
      const std::vector<int32_t> positions = {0, 1, 7, 4095, 32768, 7};
      std::vector<float> frequencies;
      frequencies.reserve(head_dim / 2);
      for (int i = 0; i < head_dim / 2; ++i) {
        frequencies.push_back(std::pow(
            10000.0f,
            -2.0f * static_cast<float>(i) / static_cast<float>(head_dim)));
      }
      auto actual = RandomFloats(6 * 3 * head_dim, kSeed);
      auto expected = actual;
      RotaryArgs args{.heads = actual.data(),
                      .positions = positions,
                      .inverse_frequencies = frequencies,
                      .num_heads = 3,
                      .head_dim = head_dim,
                      .pairs = pairs};
      // Twice: the second call may reuse angles.
      ASSERT_TRUE(backend().Rotary(args).ok());
      ASSERT_TRUE(backend().Rotary(args).ok());
      args.heads = expected.data();
      ASSERT_TRUE(reference().Rotary(args).ok());
      ASSERT_TRUE(reference().Rotary(args).ok());
      for (size_t i = 0; i < actual.size(); ++i) {
        ASSERT_NEAR(actual[i], expected[i], 2e-6) << i;
      }
    }
  }
}

TEST_P(ElementwiseParityTest, RotaryOfOnePositionIsAlsoRightAfterAnother) {
  const std::vector<float> frequencies = {1.0f, 0.5f};
  for (const int32_t position : {3, 4, 3}) {
    const std::vector<int32_t> positions = {position};
    std::vector<float> head = {1, 0, 0, 1};
    ASSERT_TRUE(backend()
                    .Rotary({.heads = head.data(),
                             .positions = positions,
                             .inverse_frequencies = frequencies,
                             .num_heads = 1,
                             .head_dim = 4,
                             .pairs = RotaryPairs::kHalves})
                    .ok());
    const float angle = static_cast<float>(position);
    EXPECT_NEAR(head[0], std::cos(angle), 1e-6);
    EXPECT_NEAR(head[2], std::sin(angle), 1e-6);
    EXPECT_NEAR(head[1], -std::sin(angle / 2), 1e-6);
    EXPECT_NEAR(head[3], std::cos(angle / 2), 1e-6);
  }
}

TEST_P(ElementwiseParityTest, SiluMulMatchesOverItsWholeRange) {
  std::vector<float> gate;
  for (float x = -120; x <= 120; x += 0.0137f) {
    gate.push_back(x);
  }
  const auto up = RandomFloats(static_cast<int64_t>(gate.size()), kSeed);
  std::vector<float> actual(gate.size());
  std::vector<float> expected(gate.size());
  SiluMulArgs args{.gate = gate.data(),
                   .up = up.data(),
                   .output = actual.data(),
                   .count = static_cast<int64_t>(gate.size())};
  ASSERT_TRUE(backend().SiluMul(args).ok());
  args.output = expected.data();
  ASSERT_TRUE(reference().SiluMul(args).ok());
  ExpectClose(actual, expected, 2e-6);
}

TEST_P(ElementwiseParityTest, WrongArgumentsAreNamed) {
  float value[4] = {};
  const std::vector<int32_t> positions = {0};
  const std::vector<float> frequencies = {1};
  EXPECT_THAT(std::string(backend()
                              .Rotary({.heads = value,
                                       .positions = positions,
                                       .inverse_frequencies = frequencies,
                                       .num_heads = 1,
                                       .head_dim = 4})
                              .message()),
              HasSubstr("inverse_frequencies"));
  EXPECT_THAT(std::string(backend()
                              .RmsNorm({.input = value,
                                        .scale = value,
                                        .output = value,
                                        .rows = 1,
                                        .cols = 0})
                              .message()),
              HasSubstr("cols"));
  EXPECT_THAT(std::string(backend().SiluMul({.count = -1}).message()),
              HasSubstr("count"));
}

class SamplingParityTest : public BackendTest {
 protected:
  struct Top {
    std::vector<int32_t> ids;
    std::vector<float> values;
    float log_sum_exp = 0;
  };
  static Top Run(Backend& backend, std::span<const float> logits,
                 size_t count) {
    Top top{std::vector<int32_t>(count), std::vector<float>(count)};
    const auto status = backend.TopLogits({.logits = logits,
                                           .ids = top.ids,
                                           .values = top.values,
                                           .log_sum_exp = &top.log_sum_exp});
    EXPECT_TRUE(status.ok()) << status;
    return top;
  }
};

TEST_P(SamplingParityTest, TopLogitsMatch) {
  for (const int64_t vocabulary : {1, 2, 15, 16, 17, 1000, 49152}) {
    auto logits = RandomFloats(vocabulary, kSeed);
    for (float& logit : logits) {
      logit = std::round(logit * 40) / 4;  // many equal ones
    }
    for (const int64_t wanted : {0, 1, 2, 40, 1000}) {
      const auto count = static_cast<size_t>(std::min(wanted, vocabulary));
      const Top actual = Run(backend(), logits, count);
      const Top expected = Run(reference(), logits, count);
      EXPECT_EQ(actual.ids, expected.ids);
      EXPECT_EQ(actual.values, expected.values);
      EXPECT_NEAR(actual.log_sum_exp, expected.log_sum_exp,
                  1e-5 + 2e-7 * std::abs(expected.log_sum_exp));
    }
  }
}

TEST_P(SamplingParityTest, EqualLogitsComeInTheOrderOfTheirIds) {
  const std::vector<float> logits(100, 2.5f);
  const Top top = Run(backend(), logits, 5);
  EXPECT_THAT(top.ids, testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_NEAR(top.log_sum_exp, 2.5 + std::log(100.0), 1e-5);
}

TEST_P(SamplingParityTest, InfiniteAndHugeLogitsAreFine) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> logits(70, -inf);
  EXPECT_EQ(Run(backend(), logits, 2).log_sum_exp, -inf);
  logits[33] = 1e30f;
  logits[69] = 1e30f;
  const Top top = Run(backend(), logits, 3);
  EXPECT_THAT(top.ids, testing::ElementsAre(33, 69, 0));
  EXPECT_FLOAT_EQ(top.log_sum_exp, 1e30f);
  logits[5] = inf;
  EXPECT_EQ(Run(backend(), logits, 1).log_sum_exp, inf);
}

TEST_P(SamplingParityTest, WhatIsNoNumberIsInvalid) {
  for (const size_t bad : {size_t{0}, size_t{16}, size_t{40}}) {
    std::vector<float> logits(41, 1.0f);
    logits[bad] = std::numeric_limits<float>::quiet_NaN();
    std::vector<int32_t> ids(1);
    std::vector<float> values(1);
    float log_sum_exp = 0;
    EXPECT_EQ(backend()
                  .TopLogits({.logits = logits,
                              .ids = ids,
                              .values = values,
                              .log_sum_exp = &log_sum_exp})
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

class BackendMemoryTest : public BackendTest {};

TEST_P(BackendMemoryTest, IsAlignedZeroedAndWritable) {
  for (const size_t bytes :
       {size_t{1}, size_t{4097}, size_t{2} << 20, (size_t{5} << 20) + 3}) {
    auto buffer = backend().Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->address()) % 64, 0);
    const auto* begin = buffer->as<uint8_t>();
    EXPECT_TRUE(std::all_of(begin, begin + bytes,
                            [](uint8_t byte) { return byte == 0; }));
    std::memset(buffer->address(), 1, bytes);
  }
}

TEST_P(BackendMemoryTest, ImpossibleSizesAreRefused) {
  EXPECT_EQ(backend().Allocate(size_t{1} << 60).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend().Allocate(~size_t{0}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

WINNOW_INSTANTIATE_BACKENDS(ElementwiseParityTest);
WINNOW_INSTANTIATE_BACKENDS(SamplingParityTest);
WINNOW_INSTANTIATE_BACKENDS(BackendMemoryTest);

}  // namespace
}  // namespace winnow
