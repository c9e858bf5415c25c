#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gpu/attention.h"
#include "gpu/cpu/attention_kernel.h"

namespace winnow {

// Most partial results that the keys of one row are split into.
inline constexpr int kMaxKeySplits = 8;

// A piece of an Attention call that one thread does: some queries of a row
// against a run of its tiles.  Lane l of a row is query head l % group of
// query token l / group.
struct AttentionTask {
  int row = 0;
  int first_lane = 0;
  int num_lanes = 0;  // at most kMaxLanes
  int first_tile = 0;
  int num_tiles = 0;
  int64_t first_entry = 0;  // entries of the row before its first tile
  int64_t num_entries = 0;  // of the row, all tiles
  int split = -1;           // index of its SplitRow; -1: it finishes the output
                            // itself
  int64_t partial = 0;      // where, in floats, it leaves a partial result for
                            // merging; of tasks of a split only
};

// A row whose keys are split over several tasks: they leave `num_partials`
// partial results, in the order of the keys, from `first_partial` on.
struct SplitRow {
  int row = 0;
  int num_lanes = 0;
  int64_t first_partial = 0;
  int num_partials = 0;
  int num_missing = 0;  // partial results; the task that brings it to 0 merges
};

struct AttentionPlan {
  std::vector<AttentionTask> tasks;  // largest first, then by row
  std::vector<SplitRow> splits;
  size_t partial_floats = 0;  // memory of all partial results
};

// Cuts a call into tasks; `plan` is overwritten, its memory reused.
//
// Queries are cut into blocks of kMaxLanes.  A row of a single block, as in
// decode, is cut along its keys too: 8 tiles (512 tokens) a task, 16 bfloat16
// tiles with more than 4 lanes, or more where that would make over
// kMaxKeySplits partial results.
void PlanAttention(const AttentionArgs& args, AttentionPlan& plan);

// What a task asks of a kernel.
AttentionSpan TaskSpan(const AttentionArgs& args, const AttentionTask& task);

}  // namespace winnow
