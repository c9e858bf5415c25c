#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "gpu/backend.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_spread.h"

namespace winnow {

struct AttentionBenchOptions {
  int head_dim = 0;
  std::vector<int> groups;  // query heads per KV head
  int repeats = 5;
  absl::Duration wait_quiet;  // before each round, at most
};

// Decode attention of one group size over the whole working set, bfloat16.
struct AttentionFigures {
  int group = 0;
  int64_t num_rows = 0;
  int64_t num_tokens = 0;  // entries of all rows together
  uint64_t read_bytes = 0;
  Spread ragged_bytes_per_s;  // rows of 64 to 8,192 tokens
  Spread equal_bytes_per_s;   // as many rows, of equal length, as many tokens
  Spread ragged_equal_time_ratio;  // in the same round
  // The same in calls as a batch's layers make them under razor, kStepRows
  // each, and of as many equal rows with as many tokens.
  Spread razor_bytes_per_s;
  Spread razor_equal_bytes_per_s;
  Spread razor_equal_time_ratio;
};

// Rows of one layer when eight sequences with three KV heads step together.
inline constexpr int kStepRows = 24;

// Token counts of a layer's rows under razor: one head of three keeps 4,096
// tokens, the others the first few, the compensation entry, a window of 256
// and what has come since the last whole block.
std::vector<int> RazorStepLengths();

// Token counts of the rows that fill `num_tiles` tiles: deterministic, 1 to
// 128 tiles each, the last tile partly filled.
std::vector<int> RaggedLengths(int64_t num_tiles);

// Measures ragged decode attention, one query token a row, on the keys and
// values in the roofs' working set, in rounds over all groups with a sample of
// the roofs in each.
absl::StatusOr<std::vector<AttentionFigures>> BenchAttention(
    Backend& backend, RoofMeter& roofs, const AttentionBenchOptions& options);

}  // namespace winnow
