// Every backend's probability mass by distance against the softmax written out
// in double precision.

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/contract/attention_problem.h"
#include "tests/contract/backend_fixture.h"

namespace winnow {
namespace {

class AttentionMassParityTest : public BackendTest {};
WINNOW_INSTANTIATE_BACKENDS(AttentionMassParityTest);

struct Distances {
  int period = 1;
  std::vector<int> offsets;
  int64_t first_query = 0;
};

AttentionMassArgs MassArgs(AttentionProblem& problem,
                           const Distances& distances,
                           std::vector<double>& mass) {
  const AttentionRow row = problem.Row();
  const AttentionArgs args = problem.Args({&row, 1});
  AttentionMassArgs mass_args;
  mass_args.row = row;
  mass_args.tile = args.tile;
  mass_args.group = args.group;
  mass_args.token_stride = args.token_stride;
  mass_args.scale = args.scale;
  mass_args.period = distances.period;
  mass_args.offsets = distances.offsets;
  mass_args.first_query = distances.first_query;
  mass_args.mass = mass.data();
  return mass_args;
}

std::vector<double> ExpectedMass(const AttentionProblem& problem,
                                 const Distances& distances) {
  const AttentionSpec& spec = problem.spec();
  std::vector<double> mass(distances.offsets.size() * spec.group);
  for (int t = 0; t < spec.num_queries; ++t) {
    const int p = spec.NumEntries() - spec.num_queries + t;
    for (int g = 0; g < spec.group && p >= distances.first_query; ++g) {
      const std::vector<double> probs = problem.Probabilities(t, g);
      for (size_t s = 0; s < distances.offsets.size(); ++s) {
        for (int j = 1; p - j * distances.period >= 0; ++j) {
          mass[s * spec.group + g] +=
              probs[p + distances.offsets[s] - j * distances.period];
        }
      }
    }
  }
  return mass;
}

void ExpectMass(Backend& backend, const AttentionSpec& spec,
                const Distances& distances) {
  SCOPED_TRACE("entries " + std::to_string(spec.NumEntries()) + ", queries " +
               std::to_string(spec.num_queries) + ", group " +
               std::to_string(spec.group) + ", period " +
               std::to_string(distances.period));
  AttentionProblem problem(backend, spec);
  std::vector<double> mass(distances.offsets.size() * spec.group, 7.0);
  ASSERT_TRUE(backend.AttentionMass(MassArgs(problem, distances, mass)).ok());
  const std::vector<double> expected = ExpectedMass(problem, distances);
  for (size_t i = 0; i < mass.size(); ++i) {
    EXPECT_NEAR(mass[i] - 7.0, expected[i], 1e-5 * (1 + expected[i])) << i;
  }
}

TEST_P(AttentionMassParityTest, EqualsSoftmaxWrittenOut) {
  int i = 0;
  for (const int head_dim : {16, 64, 128}) {
    for (const int group : {1, 3, 7, 16}) {
      for (const KvDtype dtype : {KvDtype::kFloat32, KvDtype::kBfloat16}) {
        const int entries = 50 + 37 * (i % 7);
        const AttentionSpec spec{.shape = {head_dim, dtype},
                                 .group = group,
                                 .num_queries = i % 2 == 0 ? entries : 9,
                                 .tile_counts = OddTiles(entries),
                                 .logit_gain = 2,
                                 .seed = static_cast<unsigned>(i)};
        ExpectMass(backend(), spec, {.period = 25, .offsets = {0, 1, 24}});
        ++i;
      }
    }
  }
}

TEST_P(AttentionMassParityTest, EveryPeriodFromOneToMoreThanThereIs) {
  for (const int period : {1, 2, 63, 64, 150, 151, 1000}) {
    ExpectMass(backend(),
               {.shape = {32, KvDtype::kFloat32},
                .group = 3,
                .num_queries = 150,
                .tile_counts = OddTiles(150)},
               {.period = period, .offsets = {0, period - 1}});
  }
}

TEST_P(AttentionMassParityTest, OnlyLaterQueriesCount) {
  for (const int64_t first_query : {0, 90, 100, 149, 150, 1000}) {
    ExpectMass(backend(),
               {.shape = {32, KvDtype::kFloat32},
                .group = 3,
                .num_queries = 60,
                .tile_counts = OddTiles(150)},
               {.period = 40, .offsets = {0, 1}, .first_query = first_query});
  }
}

TEST_P(AttentionMassParityTest, BadDistancesAreRefused) {
  AttentionProblem problem(
      backend(),
      {.shape = {32, KvDtype::kFloat32}, .num_queries = 5, .tile_counts = {5}});
  std::vector<double> mass(2);
  for (const Distances& bad : {Distances{.period = 0, .offsets = {0}},
                               Distances{.period = 4, .offsets = {4}},
                               Distances{.period = 4, .offsets = {-1}}}) {
    EXPECT_EQ(backend().AttentionMass(MassArgs(problem, bad, mass)).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace winnow
