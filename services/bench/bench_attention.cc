#include "services/bench/bench_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "absl/strings/str_cat.h"

#include "gpu/base/clock.h"
#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "services/bench/bench_machine.h"
#include "services/common/stage_timer.h"

namespace winnow {
namespace {

constexpr int kMostRowTiles = 128;

// Rows of one query token each over tiles that lie one after the other.
class Rows {
 public:
  Rows(const KvTileShape& shape, std::span<const std::byte> memory,
       const std::vector<int>& lengths) {
    const size_t num_tiles = memory.size() / shape.Bytes();
    size_t next = 0;
    for (const int length : lengths) {
      std::vector<KvTileRef>& tiles = tiles_.emplace_back();
      for (int left = length; left > 0; left -= kBlockTokens) {
        // Equal rows may need a few tiles more than there are.
        const std::byte* tile =
            memory.data() + next++ % num_tiles * shape.Bytes();
        tiles.push_back({tile, std::min(left, kBlockTokens)});
      }
    }
  }

  // Rows with queries and outputs of `stride` floats each.
  std::vector<AttentionRow> With(const float* query, float* output,
                                 size_t stride) const {
    std::vector<AttentionRow> rows(tiles_.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].tiles = tiles_[i];
      rows[i].query = query + i * stride;
      rows[i].output = output + i * stride;
    }
    return rows;
  }

 private:
  std::vector<std::vector<KvTileRef>> tiles_;
};

// Ragged and equal rows over the same memory, and queries for the largest
// group.
struct Problem {
  KvTileShape shape;
  std::vector<int> lengths;
  Rows ragged;
  Rows equal;
  DeviceBuffer query;
  DeviceBuffer output;

  int64_t num_tokens() const {
    return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  }
  uint64_t read_bytes() const {
    return static_cast<uint64_t>(num_tokens()) * 2 * shape.head_dim *
           KvDtypeSize(shape.dtype);
  }
};

// As many rows and tokens as `lengths`, in rows that differ by one at most.
std::vector<int> EqualLengths(const std::vector<int>& lengths) {
  const int64_t total =
      std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t count = std::ssize(lengths);
  std::vector<int> equal(lengths.size(), static_cast<int>(total / count));
  for (int64_t i = 0; i < total % count; ++i) {
    ++equal[i];
  }
  return equal;
}

absl::StatusOr<Problem> MakeProblem(Backend& backend, const RoofMeter& roofs,
                                    const AttentionBenchOptions& options) {
  const KvTileShape shape = {.head_dim = options.head_dim,
                             .dtype = KvDtype::kBfloat16};
  const std::vector<int> lengths = RaggedLengths(
      static_cast<int64_t>(roofs.memory().size() / shape.Bytes()));
  const size_t bytes = lengths.size() * std::ranges::max(options.groups) *
                       options.head_dim * sizeof(float);
  Problem problem = {
      .shape = shape,
      .lengths = lengths,
      .ragged = Rows(shape, roofs.memory(), lengths),
      .equal = Rows(shape, roofs.memory(), EqualLengths(lengths)),
      .query = {},
      .output = {}};
  WINNOW_ASSIGN_OR_RETURN(problem.query, backend.Allocate(bytes));
  WINNOW_ASSIGN_OR_RETURN(problem.output, backend.Allocate(bytes));
  auto* const query = problem.query.as<float>();
  for (size_t i = 0; i < bytes / sizeof(float); ++i) {
    query[i] = static_cast<float>(2 * UniformAt(3, i) - 1);
  }
  return problem;
}

absl::StatusOr<double> AttentionRate(Backend& backend, const Problem& problem,
                                     const Rows& rows, int group) {
  const int64_t stride = int64_t{1} * group * problem.shape.head_dim;
  const std::vector<AttentionRow> with_queries =
      rows.With(problem.query.as<float>(), problem.output.as<float>(), stride);
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    WINNOW_RETURN_IF_ERROR(backend.Attention(
        {.rows = with_queries,
         .tile = problem.shape,
         .group = group,
         .token_stride = stride,
         .scale = 1 / std::sqrt(static_cast<float>(problem.shape.head_dim))}));
  }
  return static_cast<double>(problem.read_bytes()) /
         std::max(absl::ToDoubleSeconds(time), 1e-9);
}

}  // namespace

std::vector<int> RaggedLengths(int64_t num_tiles) {
  std::vector<int> lengths;
  for (uint64_t row = 0; num_tiles > 0; ++row) {
    const auto limit = std::min<int64_t>(num_tiles, kMostRowTiles);
    const auto tiles = static_cast<int64_t>(RandomAt(4, 2 * row) % limit + 1);
    const auto last = static_cast<int>(RandomAt(4, 2 * row + 1) % kBlockTokens);
    lengths.push_back(static_cast<int>(tiles - 1) * kBlockTokens + last + 1);
    num_tiles -= tiles;
  }
  return lengths;
}

absl::StatusOr<std::vector<AttentionFigures>> BenchAttention(
    Backend& backend, RoofMeter& roofs, const AttentionBenchOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const Problem problem,
                          MakeProblem(backend, roofs, options));
  const size_t count = options.groups.size();
  std::vector<std::vector<double>> ragged(count);
  std::vector<std::vector<double>> equal(count);
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WaitUntilQuiet(kQuietCores, options.wait_quiet);
    WINNOW_RETURN_IF_ERROR(roofs.Sample());
    for (size_t i = 0; i < count; ++i) {
      const int group = options.groups[i];
      WINNOW_ASSIGN_OR_RETURN(
          const double ragged_rate,
          AttentionRate(backend, problem, problem.ragged, group));
      WINNOW_ASSIGN_OR_RETURN(
          const double equal_rate,
          AttentionRate(backend, problem, problem.equal, group));
      ragged[i].push_back(ragged_rate);
      equal[i].push_back(equal_rate);
    }
  }
  std::vector<AttentionFigures> figures;
  figures.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    figures.push_back({.group = options.groups[i],
                       .num_rows = std::ssize(problem.lengths),
                       .num_tokens = problem.num_tokens(),
                       .read_bytes = problem.read_bytes(),
                       .ragged_bytes_per_s = SpreadOf(ragged[i]),
                       .equal_bytes_per_s = SpreadOf(equal[i])});
  }
  return figures;
}

}  // namespace winnow
