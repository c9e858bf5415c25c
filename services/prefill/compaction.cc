#include "services/prefill/compaction.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cache_store/format/anchor.h"
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

// Slots of `block` that hold tokens of the segment.
CopySlotsArgs BlockCopy(const SegmentShape& shape, int64_t block) {
  const int64_t first = block * kBlockTokens;
  const auto begin = static_cast<int64_t>(shape.first_token) - first;
  const auto end = static_cast<int64_t>(shape.end_token) - first;
  return {.shape = shape.tile,
          .begin = static_cast<int>(std::max<int64_t>(begin, 0)),
          .end = static_cast<int>(std::min<int64_t>(end, kBlockTokens))};
}

absl::Status PackTiles(Backend& backend, const KvSequence& sequence,
                       const Plan& plan, const SegmentShape& shape,
                       std::span<std::byte> payload) {
  const size_t tile_bytes = shape.tile.Bytes();
  const int64_t first_block =
      static_cast<int64_t>(shape.first_token) / kBlockTokens;
  std::vector<CopySlotsArgs> copies;
  std::byte* target = payload.data();
  ForEachHead(plan, shape.kind, [&](int layer, int head) {
    for (uint32_t i = 0; i < shape.num_blocks; ++i) {
      CopySlotsArgs copy = BlockCopy(shape, first_block + i);
      copy.source = sequence.BlockTile(layer, head, first_block + i);
      copy.target = target;
      target += tile_bytes;
      // Folded blocks of a long prompt stay zero: decode does not read them.
      const bool folded = copy.source == nullptr;
      if (folded || copy.begin > 0 || copy.end < kBlockTokens) {
        std::memset(copy.target, 0, tile_bytes);
      }
      if (!folded) {
        copies.push_back(copy);
      }
    }
  });
  return backend.CopySlots(copies);
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
      SinksFromTile(sequence.SinkTile(layer, head), shape.tile,
                    static_cast<int>(shape.num_sinks), anchor.sink_keys(index),
                    anchor.sink_values(index));
    }
    ++index;
  });
}

}  // namespace

absl::Status Compact(const Plan& plan, KvSequence& sequence) {
  if (!plan.HasLocalHeads()) {
    return absl::OkStatus();
  }
  const FoldRule rule = plan.fold_rule();
  sequence.SetFoldRule(rule);
  for (int layer = 0; layer < plan.grid.num_layers; ++layer) {
    WINNOW_RETURN_IF_ERROR(sequence.FoldBefore(layer, rule.window_begin));
  }
  return absl::OkStatus();
}

absl::Status PackSegment(Backend& backend, const KvSequence& sequence,
                         const Plan& plan, const SegmentShape& shape,
                         std::span<std::byte> payload) {
  if (shape.kind == SegmentKind::kAnchor) {
    PackAnchor(sequence, plan, shape, payload);
    return absl::OkStatus();
  }
  return PackTiles(backend, sequence, plan, shape, payload);
}

}  // namespace winnow
