#include "services/common/sequence_loader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "cache_store/format/anchor.h"
#include "cache_store/format/tail.h"
#include "cache_store/format/token_rows.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"
#include "services/common/miss_status.h"

namespace winnow {
namespace {

// A segment that was read.
struct LoadedSegment {
  const SegmentShape* shape = nullptr;
  std::span<const std::byte> payload;

  // Tile of the `index`-th head of the segment's class; R and W only.
  const std::byte* Tile(int index) const {
    return payload.data() + static_cast<size_t>(index) * shape->tile.Bytes();
  }
};

// Builds the rows of a sequence from segments.
class Loader {
 public:
  Loader(const Manifest& manifest, KvSequence& sequence)
      : manifest_(manifest),
        plan_(manifest.plan),
        sequence_(sequence),
        loaded_begin_(LoadedBegin(manifest.plan, manifest.num_tokens)) {}

  // Whether decode needs a segment at all: after a long prompt the context's
  // own anchor and the oldest window blocks have been folded away.
  bool Needs(const ManifestSegment& segment) const {
    const auto end = static_cast<int64_t>(segment.shape.end_token);
    switch (segment.shape.kind) {
      case SegmentKind::kAnchor:
        return end == loaded_begin_;
      case SegmentKind::kWindow:
        return end > loaded_begin_;
      default:
        return true;
    }
  }

  void Add(const SegmentShape& shape, std::span<const std::byte> payload) {
    const LoadedSegment segment{.shape = &shape, .payload = payload};
    switch (shape.kind) {
      case SegmentKind::kAnchor:
        anchor_ = segment;
        break;
      case SegmentKind::kWindow:
        windows_.push_back(segment);
        break;
      case SegmentKind::kRetrieval:
        retrievals_.push_back(segment);
        break;
      default:
        tails_.push_back(segment);
    }
  }

  absl::Status BuildRows() {
    if (plan_.HasLocalHeads()) {
      sequence_.SetFoldRule(plan_.fold_rule());
    }
    int local_index = 0;
    int retrieval_index = 0;
    for (int layer = 0; layer < plan_.grid.num_layers; ++layer) {
      for (int head = 0; head < plan_.grid.num_kv_heads; ++head) {
        if (plan_.IsRetrieval(layer, head)) {
          AddBlocks(layer, head, retrievals_, retrieval_index++);
        } else {
          WINNOW_RETURN_IF_ERROR(SetAnchor(layer, head, local_index));
          AddBlocks(layer, head, windows_, local_index++);
        }
        WINNOW_RETURN_IF_ERROR(AddTails(layer, head));
      }
    }
    sequence_.FinishLoad(manifest_.num_tokens);
    return absl::OkStatus();
  }

 private:
  void AddBlocks(int layer, int head, std::span<const LoadedSegment> segments,
                 int index) {
    for (const LoadedSegment& segment : segments) {
      sequence_.AddSharedBlock(layer, head, segment.Tile(index));
    }
  }

  absl::Status SetAnchor(int layer, int head, int index) {
    if (anchor_.shape == nullptr) {
      return absl::OkStatus();
    }
    const SegmentShape& shape = *anchor_.shape;
    const AnchorView<const std::byte> anchor(anchor_.payload, shape.tile,
                                             shape.num_heads, shape.num_sinks);
    tile_.assign(shape.tile.Bytes(), std::byte{0});
    TokensToTile(anchor.sink_keys(index), anchor.sink_values(index), shape.tile,
                 0, static_cast<int>(shape.num_sinks), tile_.data());
    return sequence_.SetAnchor(layer, head,
                               {.sink_tile = tile_,
                                .key_sum = anchor.key_sum(index),
                                .value_sum = anchor.value_sum(index),
                                .num_folded = anchor.parameters().dropped,
                                .first_block = loaded_begin_ / kBlockTokens});
  }

  absl::Status AddTails(int layer, int head) {
    const int index = layer * plan_.grid.num_kv_heads + head;
    const int64_t needed =
        plan_.IsRetrieval(layer, head) ? 0 : loaded_begin_ / kBlockTokens;
    for (const LoadedSegment& segment : tails_) {
      const SegmentShape& shape = *segment.shape;
      const TailView<const std::byte> tail(segment.payload, shape);
      for (const TailBlock& block : TailBlocks(shape)) {
        if (block.block < needed) {
          continue;
        }
        tile_.resize(shape.tile.Bytes());
        TokensToTile(tail.keys(index, block), tail.values(index, block),
                     shape.tile, block.begin, block.end, tile_.data());
        WINNOW_RETURN_IF_ERROR(sequence_.CopyIntoBlock(
            layer, head, block.block, tile_.data(), block.begin, block.end));
      }
    }
    return absl::OkStatus();
  }

  const Manifest& manifest_;
  const Plan& plan_;
  KvSequence& sequence_;
  const int64_t loaded_begin_;
  LoadedSegment anchor_;
  std::vector<LoadedSegment> windows_;
  std::vector<LoadedSegment> retrievals_;
  std::vector<LoadedSegment> tails_;
  std::vector<std::byte> tile_;  // scratch
};

absl::Status LostSegment(const ManifestSegment& segment, MissReason reason) {
  return MissStatus(
      reason, absl::StrCat("segment ", segment.key.ToHex().substr(0, 16)));
}

}  // namespace

absl::StatusOr<LoadedSequence> LoadSequence(const SharedBackend& compute,
                                            const ModelConfig& config,
                                            const Manifest& manifest,
                                            KvStore& store, LeaseId lease,
                                            int64_t max_tokens) {
  LoadedSequence loaded;
  const KvDtype dtype = manifest.identity.dtype;
  WINNOW_ASSIGN_OR_RETURN(
      loaded.sequence,
      KvSequence::Create(compute.backend, SequenceOptions(config, manifest.plan,
                                                          dtype, max_tokens)));
  Loader loader(manifest, *loaded.sequence);
  std::vector<const ManifestSegment*> needed;
  std::vector<SegmentKey> keys;
  for (const ManifestSegment& segment : manifest.segments) {
    if (loader.Needs(segment)) {
      needed.push_back(&segment);
      keys.push_back(segment.key);
    }
  }
  WINNOW_ASSIGN_OR_RETURN(std::vector<ReadResult> read,
                          store.ReadMany(lease, keys));
  for (size_t i = 0; i < needed.size(); ++i) {
    const ManifestSegment& segment = *needed[i];
    if (read[i].miss != MissReason::kNone) {
      return LostSegment(segment, read[i].miss);
    }
    const std::span<const std::byte> payload =
        SegmentPayload(segment.key, segment.shape, read[i].view.bytes);
    if (payload.empty()) {
      return LostSegment(segment, MissReason::kIdentity);
    }
    loader.Add(segment.shape, payload);
    loaded.pulled_bytes += read[i].view.bytes.size();
    loaded.views.push_back(std::move(read[i].view));
  }
  const ComputeGate::Turn turn = compute.Enter();
  WINNOW_RETURN_IF_ERROR(loader.BuildRows());
  return loaded;
}

}  // namespace winnow
