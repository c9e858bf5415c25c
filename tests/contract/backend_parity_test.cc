// Every backend against the plain loops, and the plain loops against the
// definition written out once more below.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"

#include "tests/contract/backend_fixture.h"
#include "tests/contract/random_weight.h"

namespace winnow {
namespace {

using testing::HasSubstr;

constexpr unsigned kSeed = 20240817;

std::vector<float> RandomFloats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(random);
  }
  return values;
}

// One linear operation with random contents, all of it misaligned by one
// float (the weights by one byte) where `misaligned`.
struct LinearProblem {
  LinearProblem(WeightType type, int64_t rows, int64_t cols, int num_tokens,
                bool misaligned)
      : weight(type, rows, cols, misaligned ? 1 : 0, kSeed),
        offset(misaligned ? 1 : 0),
        input(RandomFloats(num_tokens * cols + 1, kSeed + 1)),
        bias(RandomFloats(rows + 1, kSeed + 2)),
        output(RandomFloats(num_tokens * rows + 1, kSeed + 3)) {
    args.input = input.data() + offset;
    args.weight = weight.view();
    args.output = output.data() + offset;
    args.num_tokens = num_tokens;
  }

  RandomWeight weight;
  int offset;
  std::vector<float> input;
  std::vector<float> bias;
  std::vector<float> output;
  LinearArgs args;
};

// How far each output may lie from the exact value of
// sum_c input[t, c] * weight[r, c], given the rounding that the mode allows.
double Tolerance(const LinearArgs& args, int64_t token, int64_t row,
                 bool is_fast) {
  const auto cols = static_cast<size_t>(args.weight.cols);
  std::vector<float> weights(cols);
  Dequantize(args.weight.type, args.weight.Row(row), args.weight.cols,
             weights.data());
  const float* input = args.input + token * args.weight.cols;
  double magnitude = 0;  // sum of |product|
  double integer = 0;  // sum of |weight| * half a step of the block's integers
  for (size_t col = 0; col < cols; ++col) {
    float largest = 0;
    for (size_t i = col / 32 * 32; i < std::min(cols, col / 32 * 32 + 32);
         ++i) {
      largest = std::max(largest, std::abs(input[i]));
    }
    magnitude += std::abs(double{input[col]} * weights[col]);
    integer += std::abs(weights[col]) * largest / 254.0;
  }
  // float32: the order of additions is free; 1e-6 is 16 roundings of 2^-24,
  // and a chain of n additions errs by a few of them in practice.
  const double float32 = 1e-6 * magnitude + 1e-6;
  if (!is_fast) {
    return float32;
  }
  // bfloat16 (8 bits) rounds both factors by at most 2^-8 each.  Integers round
  // each input by at most half a step.  Both are worst cases: errors add up.
  return float32 + std::max(magnitude * (2 * 0x1p-8 + 0x1p-16), 1.02 * integer);
}

void ExpectLinearMatches(Backend& backend, LinearProblem& problem,
                         bool is_fast) {
  LinearArgs args = problem.args;
  std::vector<float> expected = problem.output;
  LinearArgs reference_args = args;
  reference_args.output = expected.data() + problem.offset;
  const auto reference = CreateReferenceBackend();
  ASSERT_TRUE(reference->Linear(reference_args).ok());
  const auto status = backend.Linear(args);
  ASSERT_TRUE(status.ok()) << status;

  const int64_t rows = args.weight.rows;
  const bool many = rows * args.num_tokens >= 500;
  double squared_error = 0;
  double squares = 1e-12;
  for (int64_t token = 0; token < args.num_tokens; ++token) {
    for (int64_t row = 0; row < rows; ++row) {
      const double exact = reference_args.output[token * rows + row];
      const double actual = args.output[token * rows + row];
      // Where there are many, a few rows get the strict bound, which costs as
      // much as the product, and all get the statistical one below.
      if (!many || row < 3 || row + 3 >= rows) {
        ASSERT_NEAR(actual, exact, Tolerance(args, token, row, is_fast))
            << "token " << token << " row " << row;
      }
      squared_error += (actual - exact) * (actual - exact);
      squares += exact * exact;
    }
  }
  // Rounding errors are independent: 2^-8 / sqrt(3) twice for bfloat16, 1/254
  // of a block's maximum (three deviations) / sqrt(3) for integers.
  if (many) {
    EXPECT_LT(std::sqrt(squared_error / squares), is_fast ? 0.012 : 1e-6);
  }
}

class LinearParityTest : public BackendTest {};

TEST_P(LinearParityTest, EveryWeightTypeMatches) {
  for (int type = 0; type < kNumWeightTypes; ++type) {
    for (const int num_tokens : {1, 2, 3, 5, 7, 8, 9, 17, 33}) {
      for (const bool misaligned : {false, true}) {
        const auto weight_type = static_cast<WeightType>(type);
        SCOPED_TRACE(testing::Message()
                     << GetWeightBlock(weight_type).name << ", " << num_tokens
                     << " tokens, misaligned " << misaligned);
        LinearProblem problem(weight_type, 31, 768, num_tokens, misaligned);
        ExpectLinearMatches(backend(), problem, is_fast());
      }
    }
  }
}

TEST_P(LinearParityTest, OddNumbersOfRowsAndBlocksMatch) {
  for (const WeightType type :
       {WeightType::kF32, WeightType::kBF16, WeightType::kQ4_0,
        WeightType::kQ4_1, WeightType::kQ5_1, WeightType::kQ8_0,
        WeightType::kQ6_K}) {
    const int elements = GetWeightBlock(type).elements;
    for (const int64_t rows : {1, 3, 31, 577}) {
      for (const int blocks : {1, 2, 3, 5, 18}) {
        for (const int num_tokens : {1, 3, 17}) {
          SCOPED_TRACE(testing::Message()
                       << GetWeightBlock(type).name << ", " << rows << " x "
                       << blocks << " blocks, " << num_tokens << " tokens");
          LinearProblem problem(type, rows, int64_t{blocks} * elements,
                                num_tokens, true);
          ExpectLinearMatches(backend(), problem, is_fast());
        }
      }
    }
  }
}

TEST_P(LinearParityTest, BiasIsAddedAndOutputAccumulates) {
  for (const WeightType type :
       {WeightType::kF32, WeightType::kQ4_1, WeightType::kQ8_0}) {
    for (const int num_tokens : {1, 4, 40}) {
      for (const bool accumulate : {false, true}) {
        LinearProblem problem(type, 100, 576, num_tokens, false);
        problem.args.bias = problem.bias.data();
        problem.args.accumulate = accumulate;
        ExpectLinearMatches(backend(), problem, is_fast());
      }
    }
  }
}

TEST_P(LinearParityTest, MoreTokensThanOnePassMatch) {
  LinearProblem problem(WeightType::kQ4_1, 5, 64, 2050, false);
  ExpectLinearMatches(backend(), problem, is_fast());
}

TEST_P(LinearParityTest, FewTokensGiveTogetherWhatTheyGiveAlone) {
  for (const WeightType type : {WeightType::kQ4_1, WeightType::kF16}) {
    LinearProblem together(type, 97, 576, 7, false);
    ASSERT_TRUE(backend().Linear(together.args).ok());
    for (int token = 0; token < 7; ++token) {
      std::vector<float> alone(97);
      LinearArgs args = together.args;
      args.input += token * 576;
      args.num_tokens = 1;
      args.output = alone.data();
      ASSERT_TRUE(backend().Linear(args).ok());
      EXPECT_EQ(std::memcmp(alone.data(), together.args.output + token * 97,
                            97 * sizeof(float)),
                0);
    }
  }
}

TEST_P(LinearParityTest, ZeroAndTinyInputsGiveNoNonsense) {
  LinearProblem problem(WeightType::kQ4_1, 33, 96, 2, false);
  std::ranges::fill(problem.input, 0.0f);
  problem.input[0] = 1e-42f;
  ASSERT_TRUE(backend().Linear(problem.args).ok());
  for (size_t i = 0; i < 2 * 33; ++i) {
    EXPECT_LT(std::abs(problem.output[i]), 1e-30f);
  }
}

TEST_P(LinearParityTest, EmbedExpandsRowsBitForBit) {
  for (int type = 0; type < kNumWeightTypes; ++type) {
    const RandomWeight weight(static_cast<WeightType>(type), 9, 512, 1, kSeed);
    const std::vector<int32_t> ids = {8, 0, 3, 3};
    std::vector<float> actual(4 * 512);
    std::vector<float> expected(4 * 512);
    ASSERT_TRUE(
        backend()
            .Embed(
                {.ids = ids, .weight = weight.view(), .output = actual.data()})
            .ok());
    for (size_t i = 0; i < ids.size(); ++i) {
      Dequantize(weight.view().type, weight.view().Row(ids[i]), 512,
                 expected.data() + i * 512);
    }
    EXPECT_EQ(actual, expected) << GetWeightBlock(weight.view().type).name;
  }
}

TEST_P(LinearParityTest, WrongArgumentsAreNamed) {
  LinearProblem problem(WeightType::kQ4_1, 4, 64, 1, false);
  const auto message = [&](auto change) {
    LinearArgs args = problem.args;
    change(args);
    const absl::Status status = backend().Linear(args);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](LinearArgs& a) { a.num_tokens = 0; }),
              HasSubstr("num_tokens"));
  EXPECT_THAT(message([](LinearArgs& a) { a.weight.cols = 63; }),
              HasSubstr("weight.cols"));
  EXPECT_THAT(message([](LinearArgs& a) { a.weight.rows = 0; }),
              HasSubstr("weight.rows"));
  EXPECT_THAT(message([](LinearArgs& a) { a.input = nullptr; }),
              HasSubstr("input"));
  const std::vector<int32_t> ids = {4};
  EXPECT_THAT(std::string(backend()
                              .Embed({.ids = ids,
                                      .weight = problem.args.weight,
                                      .output = problem.output.data()})
                              .message()),
              HasSubstr("ids[0]"));
}

// The reference itself, against the definition in gpu/linear.h.
TEST(ReferenceLinearTest, IsTheSumOfProducts) {
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  const std::vector<float> input = {1, 10, 100, -1, 0, 1};
  const std::vector<float> bias = {0.5f, 0};
  std::vector<float> output = {1, 1, 1, 1};
  const LinearArgs args = {
      .input = input.data(),
      .weight = {WeightType::kF32,
                 reinterpret_cast<const std::byte*>(weights.data()), 2, 3},
      .bias = bias.data(),
      .output = output.data(),
      .num_tokens = 2,
      .accumulate = true};
  ASSERT_TRUE(CreateReferenceBackend()->Linear(args).ok());
  EXPECT_THAT(output, testing::ElementsAre(322.5f, 655.0f, 3.5f, 3.0f));
}

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
      for (int i = 0; i < head_dim / 2; ++i) {
        frequencies.push_back(std::pow(10000.0f, -2.0f * i / head_dim));
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

WINNOW_INSTANTIATE_BACKENDS(LinearParityTest);
WINNOW_INSTANTIATE_BACKENDS(ElementwiseParityTest);
WINNOW_INSTANTIATE_BACKENDS(SamplingParityTest);
WINNOW_INSTANTIATE_BACKENDS(BackendMemoryTest);

}  // namespace
}  // namespace winnow
