#include "gpu/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <numbers>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "gpu/base/status.h"
#include "gpu/cpu/attention_args.h"
#include "gpu/cpu/attention_kernel.h"
#include "gpu/cpu/attention_merge.h"
#include "gpu/cpu/attention_tasks.h"

namespace winnow {
namespace {

// Memory for scratch: 64-byte aligned, grows, never shrinks.
class GrowingBuffer {
 public:
  // At least `bytes`; what was there is lost when it grows.
  std::byte* Get(size_t bytes) {
    if (bytes > bytes_) {
      bytes_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      memory_.reset();
      memory_.reset(static_cast<std::byte*>(
          ::operator new(bytes_, std::align_val_t{kAlignment})));
    }
    return memory_.get();
  }

 private:
  static constexpr size_t kAlignment = 64;
  struct Delete {
    void operator()(std::byte* memory) const {
      ::operator delete(memory, std::align_val_t{kAlignment});
    }
  };
  size_t bytes_ = 0;
  std::unique_ptr<std::byte, Delete> memory_;
};

// A partial result in memory: max, sum and output of `num_lanes` lanes.
AttentionPartial PartialAt(float* memory, int num_lanes) {
  return {.max = memory,
          .sum = memory + num_lanes,
          .output = memory + 2 * num_lanes};
}

// Writes the output of lanes [first_lane, first_lane + num_lanes) of a row.
void Finish(const AttentionArgs& args, const AttentionRow& row,
            std::span<const AttentionPartial> partials, int first_lane,
            int num_lanes) {
  const LaneMerge merge{.partials = partials,
                        .compensation = row.compensation,
                        .scale_log2 = args.scale * std::numbers::log2e_v<float>,
                        .head_dim = args.tile.head_dim};
  for (int i = 0; i < num_lanes; ++i) {
    const int lane = first_lane + i;
    const int64_t offset = lane / args.group * args.token_stride +
                           int64_t{lane % args.group} * args.tile.head_dim;
    MergeLane(merge, i, row.query + offset, row.output + offset);
  }
}

// kProbabilityLanes queries of an AttentionMass call.
struct MassBlock {
  int first_lane = 0;
  int num_lanes = 0;
};

// Adds the masses of one lane to masses[s * group].
void AddMass(const AttentionMassArgs& args, const float* probabilities,
             int64_t position, double* masses) {
  for (size_t s = 0; s < args.offsets.size(); ++s) {
    double mass = 0;
    for (int64_t k = position - args.period; k >= 0; k -= args.period) {
      mass += probabilities[(k + args.offsets[s]) * kProbabilityLanes];
    }
    masses[s * args.group] += mass;
  }
}

}  // namespace

struct CpuAttention::State {
  // What one thread works in.
  struct Workspace {
    GrowingBuffer scratch;
    GrowingBuffer partial;
    GrowingBuffer probabilities;
  };

  ThreadPool& pool;
  const CpuLevel level;
  const AttentionKernels float32;
  AttentionPlan plan;
  std::atomic<int64_t> next_task = 0;
  GrowingBuffer split_memory;  // partial results of rows that are split
  std::vector<Workspace> workspaces;
  std::vector<MassBlock> mass_blocks;
  std::vector<double> masses;  // [block, offset, group]

  State(ThreadPool& p, CpuLevel l)
      : pool(p),
        level(l),
        float32(GetFloat32AttentionKernels(l)),
        workspaces(p.num_threads()) {}

  AttentionKernel KernelFor(KvDtype dtype) const {
    if (level < CpuLevel::kAvx512Bf16 || dtype != KvDtype::kBfloat16) {
      return float32.attention;
    }
    return level >= CpuLevel::kAmx ? AmxAttention : Bfloat16Attention;
  }

  int64_t ClaimTask() {
    return next_task.fetch_add(1, std::memory_order_relaxed);
  }
  // Does tasks until none is left.
  void RunTasks(const AttentionArgs& args, float* split_partials,
                Workspace& workspace);
  // `next_tile` is AttentionSpan's.
  void RunTask(const AttentionArgs& args, const AttentionTask& task,
               absl::FunctionRef<const void*()> next_tile,
               float* split_partials, Workspace& workspace);
  void MergeSplit(const AttentionArgs& args, const SplitRow& split,
                  float* split_partials) const;
  void RunMassBlock(const AttentionMassArgs& args, const MassBlock& block,
                    Workspace& workspace, double* block_masses) const;
};

// A thread claims its next task when the last tile of the present one begins,
// and no earlier: another one could be idle before.
void CpuAttention::State::RunTasks(const AttentionArgs& args,
                                   float* split_partials,
                                   Workspace& workspace) {
  const int64_t count = std::ssize(plan.tasks);
  int64_t index = ClaimTask();
  while (index < count) {
    int64_t next = -1;
    const auto next_tile = [&]() -> const void* {
      next = ClaimTask();
      if (next >= count || plan.tasks[next].num_tiles == 0) {
        return nullptr;
      }
      const AttentionTask& task = plan.tasks[next];
      return args.rows[task.row].tiles[task.first_tile].tile;
    };
    RunTask(args, plan.tasks[index], next_tile, split_partials, workspace);
    index = next < 0 ? ClaimTask() : next;
  }
}

void CpuAttention::State::RunTask(const AttentionArgs& args,
                                  const AttentionTask& task,
                                  absl::FunctionRef<const void*()> next_tile,
                                  float* split_partials, Workspace& workspace) {
  const int head_dim = args.tile.head_dim;
  const bool split = task.split >= 0;
  float* memory =
      split ? split_partials + task.partial
            : reinterpret_cast<float*>(workspace.partial.Get(
                  sizeof(float) * PartialFloats(kMaxLanes, head_dim)));
  const AttentionPartial partial = PartialAt(memory, task.num_lanes);
  AttentionSpan span = TaskSpan(args, task);
  span.next_tile = &next_tile;
  KernelFor(args.tile.dtype)(
      span, workspace.scratch.Get(AttentionScratchBytes(head_dim)), partial);
  if (!split) {
    Finish(args, args.rows[task.row], {&partial, 1}, task.first_lane,
           task.num_lanes);
    return;
  }
  SplitRow& row = plan.splits[task.split];
  if (std::atomic_ref(row.num_missing)
          .fetch_sub(1, std::memory_order_acq_rel) == 1) {
    MergeSplit(args, row, split_partials);
  }
}

void CpuAttention::State::MergeSplit(const AttentionArgs& args,
                                     const SplitRow& split,
                                     float* split_partials) const {
  AttentionPartial partials[kMaxKeySplits];
  for (int i = 0; i < split.num_partials; ++i) {
    partials[i] =
        PartialAt(split_partials + split.first_partial +
                      i * PartialFloats(split.num_lanes, args.tile.head_dim),
                  split.num_lanes);
  }
  Finish(args, args.rows[split.row],
         std::span(partials).first(split.num_partials), 0, split.num_lanes);
}

void CpuAttention::State::RunMassBlock(const AttentionMassArgs& args,
                                       const MassBlock& block,
                                       Workspace& workspace,
                                       double* block_masses) const {
  const int64_t first_position = CountEntries(args.row) - args.row.num_queries;
  AttentionSpan span;
  span.tiles = args.row.tiles;
  span.shape = args.tile;
  span.scale_log2 = args.scale * std::numbers::log2e_v<float>;
  span.num_lanes = block.num_lanes;
  int visible = 0;
  for (int i = 0; i < block.num_lanes; ++i) {
    const int lane = block.first_lane + i;
    span.query[i] = args.row.query + lane / args.group * args.token_stride +
                    int64_t{lane % args.group} * args.tile.head_dim;
    visible = static_cast<int>(first_position + lane / args.group + 1);
    span.visible[i] = visible;
  }
  auto* probabilities = reinterpret_cast<float*>(workspace.probabilities.Get(
      sizeof(float) * static_cast<size_t>(visible) * kProbabilityLanes));
  float32.probability(
      span, workspace.scratch.Get(AttentionScratchBytes(args.tile.head_dim)),
      probabilities);
  for (int i = 0; i < block.num_lanes; ++i) {
    AddMass(args, probabilities + i, span.visible[i] - 1,
            block_masses + (block.first_lane + i) % args.group);
  }
}

CpuAttention::CpuAttention(ThreadPool& pool, CpuLevel level)
    : state_(std::make_unique<State>(pool, level)) {}

CpuAttention::~CpuAttention() = default;

absl::Status CpuAttention::Attention(const AttentionArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckAttention(args));
  State& state = *state_;
  PlanAttention(args, state.plan);
  auto* split_partials = reinterpret_cast<float*>(
      state.split_memory.Get(sizeof(float) * state.plan.partial_floats));
  state.next_task.store(0, std::memory_order_relaxed);
  const int64_t num_runs =
      std::min<int64_t>(state.pool.num_threads(), std::ssize(state.plan.tasks));
  state.pool.ParallelFor(num_runs, [&](int64_t, int thread) {
    state.RunTasks(args, split_partials, state.workspaces[thread]);
  });
  return absl::OkStatus();
}

absl::Status CpuAttention::AttentionMass(const AttentionMassArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckAttentionMass(args));
  State& state = *state_;
  const int64_t first_position = CountEntries(args.row) - args.row.num_queries;
  const int64_t skipped = std::clamp<int64_t>(args.first_query - first_position,
                                              0, args.row.num_queries);
  const int num_lanes = args.row.num_queries * args.group;
  state.mass_blocks.clear();
  for (int lane = static_cast<int>(skipped) * args.group; lane < num_lanes;
       lane += kProbabilityLanes) {
    state.mass_blocks.push_back(
        {lane, std::min(kProbabilityLanes, num_lanes - lane)});
  }
  std::ranges::reverse(state.mass_blocks);  // later queries see more

  const size_t block_size = args.offsets.size() * args.group;
  state.masses.assign(state.mass_blocks.size() * block_size, 0);
  state.pool.ParallelFor(static_cast<int64_t>(state.mass_blocks.size()),
                         [&](int64_t index, int thread) {
                           state.RunMassBlock(
                               args, state.mass_blocks[index],
                               state.workspaces[thread],
                               state.masses.data() + index * block_size);
                         });
  for (size_t i = 0; i < state.masses.size(); ++i) {
    args.mass[i % block_size] += state.masses[i];
  }
  return absl::OkStatus();
}

}  // namespace winnow
