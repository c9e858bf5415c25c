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
};

// Token counts of the rows that fill `num_tiles` tiles: deterministic, 1 to
// 128 tiles each, the last tile partly filled.
std::vector<int> RaggedLengths(int64_t num_tiles);

// Measures ragged decode attention, one query token a row, on the keys and
// values in the roofs' working set, in rounds over all groups with a sample of
// the roofs in each.
absl::StatusOr<std::vector<AttentionFigures>> BenchAttention(
    Backend& backend, RoofMeter& roofs, const AttentionBenchOptions& options);

}  // namespace winnow
