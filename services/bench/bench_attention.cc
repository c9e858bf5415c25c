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

int64_t TokensOf(const std::vector<int>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

// Rows of uneven lengths, equal rows with as many tokens over the same memory,
// and how many of them one call attends.
struct Pair {
  Rows uneven;
  Rows equal;
  int64_t num_rows = 0;
  int64_t num_tokens = 0;
  size_t call_rows = 0;
};

// Two pairs, and queries for the largest group.
struct Problem {
  KvTileShape shape;
  Pair ragged;  // all in one call
  Pair razor;   // kStepRows in a call
  DeviceBuffer query;
  DeviceBuffer output;

  uint64_t ReadBytes(const Pair& pair) const {
    return static_cast<uint64_t>(pair.num_tokens) * 2 * shape.head_dim *
           KvDtypeSize(shape.dtype);
  }
};

// As many rows and tokens as `lengths`, in rows that differ by one at most.
std::vector<int> EqualLengths(const std::vector<int>& lengths) {
  const int64_t total = TokensOf(lengths);
  const int64_t count = std::ssize(lengths);
  std::vector<int> equal(lengths.size(), static_cast<int>(total / count));
  for (int64_t i = 0; i < total % count; ++i) {
    ++equal[i];
  }
  return equal;
}

// `lengths` are those of one call, `num_calls` of which are made.
Pair MakePair(const KvTileShape& shape, std::span<const std::byte> memory,
              const std::vector<int>& lengths, int64_t num_calls) {
  const std::vector<int> equal = EqualLengths(lengths);
  std::vector<int> all_uneven;
  std::vector<int> all_equal;
  for (int64_t i = 0; i < num_calls; ++i) {
    all_uneven.insert(all_uneven.end(), lengths.begin(), lengths.end());
    all_equal.insert(all_equal.end(), equal.begin(), equal.end());
  }
  return {.uneven = Rows(shape, memory, all_uneven),
          .equal = Rows(shape, memory, all_equal),
          .num_rows = std::ssize(all_uneven),
          .num_tokens = TokensOf(all_uneven),
          .call_rows = lengths.size()};
}

int64_t TilesOf(const std::vector<int>& lengths) {
  int64_t tiles = 0;
  for (const int length : lengths) {
    tiles += (length + kBlockTokens - 1) / kBlockTokens;
  }
  return tiles;
}

absl::StatusOr<Problem> MakeProblem(Backend& backend, const RoofMeter& roofs,
                                    const AttentionBenchOptions& options) {
  const KvTileShape shape = {.head_dim = options.head_dim,
                             .dtype = KvDtype::kBfloat16};
  const auto num_tiles =
      static_cast<int64_t>(roofs.memory().size() / shape.Bytes());
  const std::vector<int> step = RazorStepLengths();
  Problem problem = {
      .shape = shape,
      .ragged = MakePair(shape, roofs.memory(), RaggedLengths(num_tiles), 1),
      .razor = MakePair(shape, roofs.memory(), step,
                        std::max<int64_t>(num_tiles / TilesOf(step), 1)),
      .query = {},
      .output = {}};
  const auto rows =
      std::max<size_t>(problem.ragged.num_rows, problem.razor.num_rows);
  const size_t bytes = rows * std::ranges::max(options.groups) *
                       options.head_dim * sizeof(float);
  WINNOW_ASSIGN_OR_RETURN(problem.query, backend.Allocate(bytes));
  WINNOW_ASSIGN_OR_RETURN(problem.output, backend.Allocate(bytes));
  auto* const query = problem.query.as<float>();
  for (size_t i = 0; i < bytes / sizeof(float); ++i) {
    query[i] = static_cast<float>(2 * UniformAt(3, i) - 1);
  }
  return problem;
}

absl::StatusOr<double> AttentionSeconds(Backend& backend,
                                        const Problem& problem,
                                        const Rows& rows, size_t call_rows,
                                        int group) {
  const int64_t stride = int64_t{1} * group * problem.shape.head_dim;
  const std::vector<AttentionRow> with_queries =
      rows.With(problem.query.as<float>(), problem.output.as<float>(), stride);
  std::span<const AttentionRow> left(with_queries);
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    for (; !left.empty(); left = left.subspan(call_rows)) {
      WINNOW_RETURN_IF_ERROR(backend.Attention(
          {.rows = left.first(call_rows),
           .tile = problem.shape,
           .group = group,
           .token_stride = stride,
           .scale =
               1 / std::sqrt(static_cast<float>(problem.shape.head_dim))}));
    }
  }
  return std::max(absl::ToDoubleSeconds(time), 1e-9);
}

// Rates of a pair over the rounds.
struct PairSamples {
  std::vector<double> uneven;
  std::vector<double> equal;
  std::vector<double> ratio;

  absl::Status Add(Backend& backend, const Problem& problem, const Pair& pair,
                   int group) {
    WINNOW_ASSIGN_OR_RETURN(
        const double uneven_seconds,
        AttentionSeconds(backend, problem, pair.uneven, pair.call_rows, group));
    WINNOW_ASSIGN_OR_RETURN(
        const double equal_seconds,
        AttentionSeconds(backend, problem, pair.equal, pair.call_rows, group));
    const auto bytes = static_cast<double>(problem.ReadBytes(pair));
    uneven.push_back(bytes / uneven_seconds);
    equal.push_back(bytes / equal_seconds);
    ratio.push_back(uneven_seconds / equal_seconds);
    return absl::OkStatus();
  }
};

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

std::vector<int> RazorStepLengths() {
  constexpr int kWhole = 4096;
  constexpr int kLocal = 4 + 1 + 256 + kBlockTokens / 2;
  std::vector<int> lengths(kStepRows, kLocal);
  for (size_t row = 0; row < lengths.size(); row += 3) {
    lengths[row] = kWhole;
  }
  return lengths;
}

absl::StatusOr<std::vector<AttentionFigures>> BenchAttention(
    Backend& backend, RoofMeter& roofs, const AttentionBenchOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const Problem problem,
                          MakeProblem(backend, roofs, options));
  const size_t count = options.groups.size();
  std::vector<PairSamples> ragged(count);
  std::vector<PairSamples> razor(count);
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WaitUntilQuiet(kQuietCores, options.wait_quiet);
    WINNOW_RETURN_IF_ERROR(roofs.Sample());
    for (size_t i = 0; i < count; ++i) {
      const int group = options.groups[i];
      WINNOW_RETURN_IF_ERROR(
          ragged[i].Add(backend, problem, problem.ragged, group));
      WINNOW_RETURN_IF_ERROR(
          razor[i].Add(backend, problem, problem.razor, group));
    }
  }
  std::vector<AttentionFigures> figures;
  figures.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    figures.push_back({.group = options.groups[i],
                       .num_rows = problem.ragged.num_rows,
                       .num_tokens = problem.ragged.num_tokens,
                       .read_bytes = problem.ReadBytes(problem.ragged),
                       .ragged_bytes_per_s = SpreadOf(ragged[i].uneven),
                       .equal_bytes_per_s = SpreadOf(ragged[i].equal),
                       .ragged_equal_time_ratio = SpreadOf(ragged[i].ratio),
                       .razor_bytes_per_s = SpreadOf(razor[i].uneven),
                       .razor_equal_bytes_per_s = SpreadOf(razor[i].equal),
                       .razor_equal_time_ratio = SpreadOf(razor[i].ratio)});
  }
  return figures;
}

}  // namespace winnow
