// Linear and Embed of every backend against the plain loops, and the plain
// loops against the definition written out once more below.

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "gmock/gmock.h"

#include "tests/contract/backend_fixture.h"
#include "tests/contract/random_floats.h"
#include "tests/contract/random_weight.h"

namespace winnow {
namespace {

using testing::HasSubstr;

constexpr unsigned kSeed = 20240817;

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

// A weight in the form that the backend prefers.
class ResidentWeight {
 public:
  ResidentWeight(Backend& backend, const WeightView& weight)
      : memory_(backend.Allocate(backend.ResidentBytes(weight)).value()),
        view_(memory_.bytes() == 0
                  ? weight
                  : backend.MakeResident(weight, memory_.as<std::byte>())) {}

  const WeightView& view() const { return view_; }

 private:
  DeviceBuffer memory_;
  WeightView view_;
};

// How far outputs may lie from the exact ones in the mean (root of squares).
// Rounding errors are independent: 2^-8 / sqrt(3) twice for bfloat16, 1/254
// of a block's maximum (three deviations) / sqrt(3) for integers of 8 bits;
// panels are multiplied by 15 bits, and a plane of 8 left out costs 0.002.
double MeanTolerance(const WeightView& weight, bool is_fast) {
  if (!is_fast) {
    return 1e-6;
  }
  return weight.layout == WeightLayout::kPanels ? 3e-4 : 0.012;
}

// Compares the outputs of `args`, computed, with the exact ones.
void ExpectOutputNear(const LinearArgs& args, const LinearArgs& reference_args,
                      bool is_fast) {
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
        ASSERT_NEAR(actual, exact,
                    Tolerance(reference_args, token, row, is_fast))
            << "token " << token << " row " << row;
      }
      squared_error += (actual - exact) * (actual - exact);
      squares += exact * exact;
    }
  }
  if (many) {
    EXPECT_LT(std::sqrt(squared_error / squares),
              MeanTolerance(args.weight, is_fast));
  }
}

// With the weight as it is and in the form that the backend prefers.
void ExpectLinearMatches(Backend& backend, LinearProblem& problem,
                         bool is_fast) {
  std::vector<float> expected = problem.output;
  LinearArgs reference_args = problem.args;
  reference_args.output = expected.data() + problem.offset;
  const auto reference = CreateReferenceBackend();
  ASSERT_TRUE(reference->Linear(reference_args).ok());
  const ResidentWeight resident(backend, problem.args.weight);
  for (const WeightView& weight : {problem.args.weight, resident.view()}) {
    SCOPED_TRACE(testing::Message()
                 << "layout " << static_cast<int>(weight.layout));
    std::vector<float> output = problem.output;
    LinearArgs args = problem.args;
    args.weight = weight;
    args.output = output.data() + problem.offset;
    const auto status = backend.Linear(args);
    ASSERT_TRUE(status.ok()) << status;
    ExpectOutputNear(args, reference_args, is_fast);
    // What lies beyond the output is not touched.
    for (size_t i = problem.offset +
                    static_cast<size_t>(args.num_tokens) * args.weight.rows;
         i < output.size(); ++i) {
      EXPECT_EQ(output[i], problem.output[i]);
    }
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
        for (const int num_tokens : {1, 3, 33}) {
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

TEST_P(LinearParityTest, MoreShapesThanAreRememberedMatch) {
  // Two stripes of two sizes each where there are two threads.
  for (int num_tokens = 15; num_tokens < 60; ++num_tokens) {
    LinearProblem problem(WeightType::kQ4_1, 31, 64, num_tokens, false);
    ExpectLinearMatches(backend(), problem, is_fast());
  }
}

TEST_P(LinearParityTest, FewTokensGiveTogetherWhatTheyGiveAlone) {
  for (const WeightType type :
       {WeightType::kQ4_1, WeightType::kQ8_0, WeightType::kF16}) {
    LinearProblem together(type, 97, 576, 65, false);
    const ResidentWeight resident(backend(), together.args.weight);
    together.args.weight = resident.view();
    // As many as gpu/README.md says: of panels any number where there is no
    // AMX.
    if (resident.view().layout == WeightLayout::kRows) {
      together.args.num_tokens = 14;
    } else if (GetParam().level >= CpuLevel::kAmx) {
      together.args.num_tokens = 24;
    }
    ASSERT_TRUE(backend().Linear(together.args).ok());
    for (int token = 0; token < together.args.num_tokens; ++token) {
      std::vector<float> alone(97);
      LinearArgs args = together.args;
      args.input += token * 576;
      args.num_tokens = 1;
      args.output = alone.data();
      ASSERT_TRUE(backend().Linear(args).ok());
      const std::span<const float> row(together.args.output + token * 97, 97);
      EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(alone)),
                                     std::as_bytes(row)));
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

TEST_P(LinearParityTest, ProductsTogetherGiveWhatTheyGiveAlone) {
  for (const int num_tokens : {1, 5, 40}) {
    // Two of one input, one of another, one in float32 and one more.
    LinearProblem problems[] = {
        {WeightType::kQ4_1, 97, 576, num_tokens, false},
        {WeightType::kQ8_0, 40, 576, num_tokens, false},
        {WeightType::kQ4_0, 33, 1536, num_tokens, false},
        {WeightType::kF16, 20, 576, num_tokens, false},
        {WeightType::kQ4_1, 19, 576, num_tokens, false},
    };
    problems[1].args.input = problems[0].args.input;
    problems[4].args.input = problems[0].args.input;
    std::vector<LinearArgs> products;
    std::vector<std::vector<float>> alone;
    for (LinearProblem& problem : problems) {
      alone.push_back(problem.output);
      LinearArgs args = problem.args;
      args.output = alone.back().data();
      ASSERT_TRUE(backend().Linear(args).ok());
      products.push_back(problem.args);
    }
    ASSERT_TRUE(backend().LinearAll(products).ok());
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(problems[i].output, alone[i]) << num_tokens << " " << i;
    }
  }
}

TEST_P(LinearParityTest, AnotherBackendsFormIsRefused) {
  const RandomWeight weight(WeightType::kQ4_1, 32, 64, 0, kSeed);
  const ResidentWeight resident(backend(), weight.view());
  if (resident.view().layout == WeightLayout::kRows) {
    GTEST_SKIP() << "this backend uses weights as files have them";
  }
  const std::vector<float> input(64);
  std::vector<float> output(32);
  const LinearArgs args = {.input = input.data(),
                           .weight = resident.view(),
                           .output = output.data(),
                           .num_tokens = 1};
  const auto float32 =
      CreateCpuBackend({.numerics = Numerics::kFloat32, .num_threads = 1})
          .value();
  const auto reference = CreateReferenceBackend();
  for (Backend* other : {float32.get(), reference.get()}) {
    EXPECT_EQ(other->Linear(args).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(LinearParityTest, EmbedExpandsRowsBitForBit) {
  for (int type = 0; type < kNumWeightTypes; ++type) {
    const RandomWeight weight(static_cast<WeightType>(type), 19, 512, 1, kSeed);
    const ResidentWeight resident(backend(), weight.view());
    const std::vector<int32_t> ids = {8, 0, 18, 18};
    std::vector<float> actual(4 * 512);
    std::vector<float> expected(4 * 512);
    ASSERT_TRUE(backend()
                    .Embed({.ids = ids,
                            .weight = resident.view(),
                            .output = actual.data()})
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

WINNOW_INSTANTIATE_BACKENDS(LinearParityTest);

}  // namespace
}  // namespace winnow
