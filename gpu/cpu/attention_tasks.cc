#include "gpu/cpu/attention_tasks.h"

#include <algorithm>
#include <cstdint>
#include <numbers>
#include <tuple>

#include "gpu/cpu/attention_args.h"

namespace winnow {
namespace {

// Least tiles of a task in a row that is cut.  A partial result of 16 lanes is
// as large as a quarter of a bfloat16 tile, and written before it is read.
int MinSplitTiles(int num_lanes, KvDtype dtype) {
  return num_lanes > 4 && dtype == KvDtype::kBfloat16 ? 16 : 8;
}

int NumLanes(const AttentionRow& row, int group) {
  return row.num_queries * group;
}

void PlanQueryBlocks(const AttentionArgs& args, int row_index,
                     AttentionPlan& plan) {
  const AttentionRow& row = args.rows[row_index];
  const int num_lanes = NumLanes(row, args.group);
  const int64_t num_entries = CountEntries(row);
  for (int lane = 0; lane < num_lanes; lane += kMaxLanes) {
    plan.tasks.push_back({.row = row_index,
                          .first_lane = lane,
                          .num_lanes = std::min(kMaxLanes, num_lanes - lane),
                          .num_tiles = static_cast<int>(row.tiles.size()),
                          .num_entries = num_entries});
  }
}

void PlanKeySplits(const AttentionArgs& args, int row_index, int split_tiles,
                   AttentionPlan& plan) {
  const AttentionRow& row = args.rows[row_index];
  const int num_lanes = NumLanes(row, args.group);
  const int num_tiles = static_cast<int>(row.tiles.size());
  const int64_t num_entries = CountEntries(row);
  const size_t partial_floats = PartialFloats(num_lanes, args.tile.head_dim);
  const int num_partials = (num_tiles + split_tiles - 1) / split_tiles;
  const int split = static_cast<int>(plan.splits.size());
  plan.splits.push_back(
      {.row = row_index,
       .num_lanes = num_lanes,
       .first_partial = static_cast<int64_t>(plan.partial_floats),
       .num_partials = num_partials,
       .num_missing = num_partials});
  int64_t first_entry = 0;
  for (int tile = 0; tile < num_tiles; tile += split_tiles) {
    const int count = std::min(split_tiles, num_tiles - tile);
    plan.tasks.push_back(
        {.row = row_index,
         .num_lanes = num_lanes,
         .first_tile = tile,
         .num_tiles = count,
         .first_entry = first_entry,
         .num_entries = num_entries,
         .split = split,
         .partial = static_cast<int64_t>(plan.partial_floats)});
    plan.partial_floats += partial_floats;
    for (const KvTileRef& ref : row.tiles.subspan(tile, count)) {
      first_entry += ref.count;
    }
  }
}

// Entries that the last lane of a task sees.
int64_t VisibleEntries(const AttentionArgs& args, const AttentionTask& task,
                       int lane) {
  const int token = (task.first_lane + lane) / args.group;
  const int later = args.rows[task.row].num_queries - 1 - token;
  return task.num_entries - later - task.first_entry;
}

int64_t Cost(const AttentionArgs& args, const AttentionTask& task) {
  const int64_t tiles = int64_t{task.num_tiles} * kBlockTokens;
  return std::min(tiles, VisibleEntries(args, task, task.num_lanes - 1)) *
         task.num_lanes;
}

}  // namespace

void PlanAttention(const AttentionArgs& args, AttentionPlan& plan) {
  plan.tasks.clear();
  plan.splits.clear();
  plan.partial_floats = 0;
  for (int i = 0; i < static_cast<int>(args.rows.size()); ++i) {
    const AttentionRow& row = args.rows[i];
    const int num_lanes = NumLanes(row, args.group);
    const int num_tiles = static_cast<int>(row.tiles.size());
    const int split_tiles =
        std::max(MinSplitTiles(num_lanes, args.tile.dtype),
                 (num_tiles + kMaxKeySplits - 1) / kMaxKeySplits);
    if (num_lanes <= kMaxLanes && num_tiles > split_tiles) {
      PlanKeySplits(args, i, split_tiles, plan);
    } else {
      PlanQueryBlocks(args, i, plan);
    }
  }
  // std::sort allocates nothing.  Tasks of a row stay together, so that it is
  // merged while its partial results are in a cache.
  const auto key = [&args](const AttentionTask& task) {
    return std::tuple(-Cost(args, task), task.row, task.first_tile,
                      task.first_lane);
  };
  std::ranges::sort(plan.tasks, {}, key);
}

AttentionSpan TaskSpan(const AttentionArgs& args, const AttentionTask& task) {
  const AttentionRow& row = args.rows[task.row];
  AttentionSpan span;
  span.tiles = row.tiles.subspan(task.first_tile, task.num_tiles);
  span.shape = args.tile;
  span.scale_log2 = args.scale * std::numbers::log2e_v<float>;
  span.num_lanes = task.num_lanes;
  for (int i = 0; i < task.num_lanes; ++i) {
    const int lane = task.first_lane + i;
    span.query[i] = row.query + lane / args.group * args.token_stride +
                    int64_t{lane % args.group} * args.tile.head_dim;
    span.visible[i] =
        static_cast<int>(std::max<int64_t>(0, VisibleEntries(args, task, i)));
  }
  return span;
}

}  // namespace winnow
