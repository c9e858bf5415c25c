// Every backend's attention against the softmax written out in double
// precision, and the invariants that compaction rests on.

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/contract/attention_problem.h"
#include "tests/contract/backend_fixture.h"

namespace winnow {
namespace {

constexpr KvDtype kDtypes[] = {KvDtype::kFloat32, KvDtype::kBfloat16};

// Values are of size one.  Rounding probabilities to bfloat16 costs up to
// 2^-9 of them each.
float Tolerance(KvDtype dtype) {
  return dtype == KvDtype::kFloat32 ? 1e-5f : 1.5e-2f;
}

std::string Describe(const AttentionSpec& spec) {
  return "head_dim " + std::to_string(spec.shape.head_dim) + ", group " +
         std::to_string(spec.group) + ", queries " +
         std::to_string(spec.num_queries) + ", entries " +
         std::to_string(spec.NumEntries()) + ", dtype " +
         std::to_string(static_cast<int>(spec.shape.dtype)) +
         (spec.log_bias.has_value() ? ", compensated" : "");
}

void ExpectNear(const std::vector<float>& actual,
                const std::vector<float>& expected, float tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  float worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const float error = std::abs(actual[i] - expected[i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  EXPECT_LE(worst, tolerance);
}

class AttentionParityTest : public BackendTest {};
WINNOW_INSTANTIATE_BACKENDS(AttentionParityTest);

TEST_P(AttentionParityTest, EqualsSoftmaxWrittenOutForOddSizes) {
  const int query_counts[] = {1, 2, 3, 17, 64, 65, 130};
  const int entry_counts[] = {1, 5, 63, 64, 65, 100, 191, 300, 517, 700};
  int i = 0;
  for (const int head_dim : {16, 32, 64, 80, 96, 128, 256}) {
    for (const int group : {1, 2, 3, 4, 7, 8, 16}) {
      for (const KvDtype dtype : kDtypes) {
        const int num_queries = query_counts[i * 5 % 7];
        AttentionSpec spec{.shape = {head_dim, dtype},
                           .group = group,
                           .num_queries = num_queries,
                           .tile_counts = OddTiles(
                               std::max(num_queries, entry_counts[i * 3 % 10])),
                           .seed = static_cast<unsigned>(i)};
        if (i % 3 != 0) {
          spec.log_bias = static_cast<float>(i % 5);
        }
        SCOPED_TRACE(Describe(spec));
        AttentionProblem problem(backend(), spec);
        ExpectNear(problem.Run(backend()), problem.Expected(),
                   Tolerance(dtype));
        ++i;
      }
    }
  }
}

TEST_P(AttentionParityTest, EveryQueryCountMeetsEveryEntryCount) {
  for (const int num_queries : {1, 2, 17, 65}) {
    for (const int entries : {1, 4, 5, 67, 129, 333}) {
      for (const KvDtype dtype : kDtypes) {
        const AttentionSpec spec{
            .shape = {32, dtype},
            .group = 3,
            .num_queries = num_queries,
            .tile_counts = OddTiles(num_queries + entries - 1),
            .log_bias = 1.5f};
        SCOPED_TRACE(Describe(spec));
        AttentionProblem problem(backend(), spec);
        ExpectNear(problem.Run(backend()), problem.Expected(),
                   Tolerance(dtype));
      }
    }
  }
}

TEST_P(AttentionParityTest, LongDecodeRowsAreMergedFromTheirParts) {
  for (const int group : {1, 3, 8, 9}) {
    for (const KvDtype dtype : kDtypes) {
      for (const int tiles : {9, 17, 270}) {
        const AttentionSpec spec{
            .shape = {64, dtype},
            .group = group,
            .tile_counts = std::vector<int>(tiles, kBlockTokens),
            .log_bias = 3.0f,
            .logit_gain = 3};
        SCOPED_TRACE(Describe(spec));
        AttentionProblem problem(backend(), spec);
        ExpectNear(problem.Run(backend()), problem.Expected(),
                   Tolerance(dtype));
      }
    }
  }
}

// A row of few queries is cut along its keys: a prompt that begins just before
// such a cut has queries that see nothing behind it.
TEST_P(AttentionParityTest, QueriesThatSeeNothingOfAPartAreMergedToo) {
  for (const int group : {1, 3, 5}) {
    for (const int num_queries : {2, 5, 9}) {
      for (const KvDtype dtype : kDtypes) {
        for (const int last : {1, num_queries - 1}) {
          std::vector<int> tiles(16, kBlockTokens);
          tiles.push_back(last);
          const AttentionSpec spec{.shape = {64, dtype},
                                   .group = group,
                                   .num_queries = num_queries,
                                   .tile_counts = tiles};
          SCOPED_TRACE(Describe(spec));
          AttentionProblem problem(backend(), spec);
          ExpectNear(problem.Run(backend()), problem.Expected(),
                     Tolerance(dtype));
        }
      }
    }
  }
}

TEST_P(AttentionParityTest, LargeLogitsDoNotOverflow) {
  for (const int num_queries : {1, 20}) {
    for (const KvDtype dtype : kDtypes) {
      const AttentionSpec spec{.shape = {64, dtype},
                               .group = 3,
                               .num_queries = num_queries,
                               .tile_counts = OddTiles(300),
                               .log_bias = 2.0f,
                               .logit_gain = 300};
      SCOPED_TRACE(Describe(spec));
      AttentionProblem problem(backend(), spec);
      // A logit of 1,000 is known to 1e-4 in float32.
      ExpectNear(problem.Run(backend()), problem.Expected(),
                 dtype == KvDtype::kFloat32 ? 2e-3f : Tolerance(dtype));
    }
  }
}

TEST_P(AttentionParityTest, QueriesNeedNotBeRepresentableInTheTilesType) {
  AttentionProblem problem(backend(), {.shape = {64, KvDtype::kBfloat16},
                                       .group = 3,
                                       .num_queries = 5,
                                       .tile_counts = OddTiles(200)});
  for (int i = 0; i < 5 * 3 * 64; ++i) {
    problem.query()[i] *= 1.001f;
  }
  ExpectNear(problem.Run(backend()), problem.Expected(), 3e-2f);
}

TEST_P(AttentionParityTest, ABatchOfRaggedRowsGivesWhatEachRowGivesAlone) {
  for (const KvDtype dtype : kDtypes) {
    std::vector<std::unique_ptr<AttentionProblem>> problems;
    std::vector<std::vector<float>> alone;
    for (const int entries : {1, 700, 64, 130, 3000, 77, 1025}) {
      const unsigned seed = static_cast<unsigned>(problems.size());
      problems.push_back(std::make_unique<AttentionProblem>(
          backend(), AttentionSpec{.shape = {64, dtype},
                                   .group = 3,
                                   .num_queries = seed % 2 == 0 ? 1 : 30,
                                   .tile_counts = OddTiles(entries),
                                   .seed = seed}));
      alone.push_back(problems.back()->Run(backend()));
    }
    std::vector<AttentionRow> rows;
    rows.reserve(problems.size());
    for (auto& problem : problems) {
      rows.push_back(problem->Row());
    }
    ASSERT_TRUE(backend().Attention(problems[0]->Args(rows)).ok());
    for (size_t i = 0; i < problems.size(); ++i) {
      EXPECT_TRUE(std::ranges::equal(problems[i]->output(), alone[i]))
          << "row " << i;
    }
  }
}

TEST_P(AttentionParityTest, TheOrderOfEntriesBeforeTheQueriesDoesNotMatter) {
  AttentionProblem problem(backend(), {.shape = {64, KvDtype::kFloat32},
                                       .group = 3,
                                       .num_queries = 4,
                                       .tile_counts = OddTiles(500)});
  const std::vector<float> before = problem.Run(backend());
  std::mt19937 random(7);
  for (int i = 495; i > 0; --i) {
    const int j = static_cast<int>(random() % (i + 1));
    std::ranges::swap_ranges(problem.Key(i), problem.Key(j));
    std::ranges::swap_ranges(problem.Value(i), problem.Value(j));
  }
  problem.StoreEntries();
  ExpectNear(problem.Run(backend()), before, 1e-5f);
}

// `dropped` equal entries, and the same row with them folded into one
// compensation entry.
void ExpectFoldingKeepsTheOutput(Backend& backend, int dropped) {
  AttentionSpec spec{.shape = {64, KvDtype::kFloat32},
                     .group = 3,
                     .num_queries = 3,
                     .tile_counts = OddTiles(100 + dropped)};
  AttentionProblem full(backend, spec);
  spec.tile_counts = OddTiles(100);
  spec.log_bias = std::log(static_cast<float>(dropped));
  AttentionProblem folded(backend, spec);
  const auto copy = [](std::span<const float> from, std::span<float> to) {
    std::ranges::copy(from, to.begin());
  };
  for (int i = 0; i < dropped; ++i) {
    copy(full.Key(0), full.Key(i));
    copy(full.Value(0), full.Value(i));
  }
  copy(full.Key(0), folded.compensation_key());
  copy(full.Value(0), folded.compensation_value());
  for (int i = 0; i < 100; ++i) {
    copy(full.Key(dropped + i), folded.Key(i));
    copy(full.Value(dropped + i), folded.Value(i));
  }
  std::copy_n(full.query(), 3 * 3 * 64, folded.query());
  full.StoreEntries();
  folded.StoreEntries();
  ExpectNear(folded.Run(backend), full.Run(backend), 1e-5f);
}

TEST_P(AttentionParityTest, CompensationStandsForEqualDroppedEntriesExactly) {
  ExpectFoldingKeepsTheOutput(backend(), 1000);
}

TEST_P(AttentionParityTest, CompensationStandsForASingleDroppedEntryExactly) {
  ExpectFoldingKeepsTheOutput(backend(), 1);
}

// Jensen's inequality: n exp(mean logit) <= sum of exp(logit).  The mass of an
// entry is read off a value that is one there and zero elsewhere.
TEST_P(AttentionParityTest, CompensationNeverHasMoreMassThanWhatItStandsFor) {
  constexpr int kDropped = 300;
  constexpr int kKept = 60;
  for (unsigned seed = 0; seed < 20; ++seed) {
    AttentionSpec spec{.shape = {32, KvDtype::kFloat32},
                       .group = 2,
                       .tile_counts = OddTiles(kDropped + kKept),
                       .seed = seed};
    AttentionProblem full(backend(), spec);
    spec.tile_counts = OddTiles(kKept);
    spec.log_bias = std::log(static_cast<float>(kDropped));
    AttentionProblem folded(backend(), spec);
    std::copy_n(full.query(), 2 * 32, folded.query());
    std::ranges::fill(folded.compensation_key(), 0.0f);
    std::ranges::fill(folded.compensation_value(), 1.0f);
    for (int i = 0; i < kDropped + kKept; ++i) {
      std::ranges::fill(full.Value(i), i < kDropped ? 1.0f : 0.0f);
      for (int dim = 0; i < kDropped && dim < 32; ++dim) {
        folded.compensation_key()[dim] += full.Key(i)[dim] / kDropped;
      }
    }
    for (int i = 0; i < kKept; ++i) {
      std::ranges::copy(full.Key(kDropped + i), folded.Key(i).begin());
      std::ranges::fill(folded.Value(i), 0.0f);
    }
    full.StoreEntries();
    folded.StoreEntries();
    const std::vector<float> dropped_mass = full.Run(backend());
    const std::vector<float> entry_mass = folded.Run(backend());
    ASSERT_EQ(entry_mass.size(), dropped_mass.size());
    for (size_t i = 0; i < entry_mass.size(); ++i) {
      EXPECT_LE(entry_mass[i], dropped_mass[i] + 1e-6f) << "seed " << seed;
    }
  }
}

TEST_P(AttentionParityTest, BadShapesAreRefusedWithAReason) {
  AttentionProblem problem(
      backend(),
      {.shape = {32, KvDtype::kFloat32}, .num_queries = 2, .tile_counts = {5}});
  const AttentionRow row = problem.Row();
  const auto code = [&](AttentionArgs args) {
    return backend().Attention(args).code();
  };
  const AttentionArgs good = problem.Args({&row, 1});
  EXPECT_EQ(code(good), absl::StatusCode::kOk);
  AttentionArgs args = good;
  args.tile.head_dim = 24;
  EXPECT_EQ(code(args), absl::StatusCode::kInvalidArgument);
  args = good;
  args.group = 0;
  EXPECT_EQ(code(args), absl::StatusCode::kInvalidArgument);
  args = good;
  args.token_stride = 31;
  EXPECT_EQ(code(args), absl::StatusCode::kInvalidArgument);
  AttentionRow starved = row;
  starved.num_queries = 6;
  args = problem.Args({&starved, 1});
  EXPECT_EQ(code(args), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
