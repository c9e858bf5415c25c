#include "services/prefill/compaction.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cache_store/format/anchor.h"
#include "cache_store/format/tail.h"
#include "cache_store/format/token_rows.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

// Calls visit(layer, head) for the heads of a segment's class, in the order of
// the payload.
template <typename Visit>
void ForEachHead(const Plan& plan, SegmentKind kind, Visit visit) {
  for (int layer = 0; layer < plan.grid.num_layers; ++layer) {
    for (int head = 0; head < plan.grid.num_kv_heads; ++head) {
      const bool wanted =
          kind == SegmentKind::kTail ||
          plan.IsRetrieval(layer, head) == (kind == SegmentKind::kRetrieval);
      if (wanted) {
        visit(layer, head);
      }
    }
  }
}

absl::Status PackTiles(const SharedBackend& compute, const KvSequence& sequence,
                       const Plan& plan, const SegmentShape& shape,
                       std::span<std::byte> payload) {
  const auto block = static_cast<int64_t>(shape.first_token) / kBlockTokens;
  std::vector<CopySlotsArgs> copies;
  std::byte* target = payload.data();
  ForEachHead(plan, shape.kind, [&](int layer, int head) {
    copies.push_back({.source = sequence.BlockTile(layer, head, block),
                      .target = target,
                      .shape = shape.tile,
                      .begin = 0,
                      .end = kBlockTokens});
    target += shape.tile.Bytes();
  });
  const ComputeGate::Turn turn = compute.Enter();
  return compute.backend.CopySlots(copies);
}

// Rows of a tail.  Blocks that a long prompt has folded stay zero: decode does
// not read them.
void PackTail(const KvSequence& sequence, const Plan& plan,
              const SegmentShape& shape, std::span<std::byte> payload) {
  std::ranges::fill(payload, std::byte{0});
  const TailView<std::byte> tail(payload, shape);
  int index = 0;
  ForEachHead(plan, shape.kind, [&](int layer, int head) {
    for (const TailBlock& block : TailBlocks(shape)) {
      const void* tile = sequence.BlockTile(layer, head, block.block);
      if (tile != nullptr) {
        TokensFromTile(tile, shape.tile, block.begin, block.end,
                       tail.keys(index, block), tail.values(index, block));
      }
    }
    ++index;
  });
}

void PackAnchor(const KvSequence& sequence, const Plan& plan,
                const SegmentShape& shape, std::span<std::byte> payload) {
  std::memset(payload.data(), 0, payload.size());
  AnchorView<std::byte> anchor(payload, shape.tile, shape.num_heads,
                               shape.num_sinks);
  anchor.parameters() = {
      .window = static_cast<uint32_t>(plan.window),
      .slack = static_cast<uint32_t>(plan.slack),
      .dropped = static_cast<uint32_t>(shape.end_token - shape.first_token),
      .sinks = shape.num_sinks};
  uint32_t index = 0;
  ForEachHead(plan, shape.kind, [&](int layer, int head) {
    anchor.weight(index) = plan.Weight(layer, head);
    std::ranges::copy(sequence.KeySum(layer, head),
                      anchor.key_sum(index).begin());
    std::ranges::copy(sequence.ValueSum(layer, head),
                      anchor.value_sum(index).begin());
    if (shape.num_sinks > 0) {
      TokensFromTile(sequence.SinkTile(layer, head), shape.tile, 0,
                     static_cast<int>(shape.num_sinks), anchor.sink_keys(index),
                     anchor.sink_values(index));
    }
    ++index;
  });
}

}  // namespace

absl::Status Compact(const SharedBackend& compute, const Plan& plan,
                     KvSequence& sequence) {
  if (!plan.HasLocalHeads()) {
    return absl::OkStatus();
  }
  const FoldRule rule = plan.fold_rule();
  sequence.SetFoldRule(rule);
  for (int layer = 0; layer < plan.grid.num_layers; ++layer) {
    const ComputeGate::Turn turn = compute.Enter();
    WINNOW_RETURN_IF_ERROR(sequence.FoldBefore(layer, rule.window_begin));
  }
  return absl::OkStatus();
}

absl::Status PackSegment(const SharedBackend& compute,
                         const KvSequence& sequence, const Plan& plan,
                         const SegmentShape& shape,
                         std::span<std::byte> payload) {
  if (shape.kind == SegmentKind::kAnchor) {
    PackAnchor(sequence, plan, shape, payload);
    return absl::OkStatus();
  }
  if (shape.kind == SegmentKind::kTail) {
    PackTail(sequence, plan, shape, payload);
    return absl::OkStatus();
  }
  return PackTiles(compute, sequence, plan, shape, payload);
}

}  // namespace winnow
