#include "services/decode/sequence_loader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "cache_store/format/anchor.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"

namespace winnow {
namespace {

// A segment that was read: its payload, cut into tiles.
struct LoadedSegment {
  const SegmentShape* shape = nullptr;
  std::span<const std::byte> payload;

  int64_t first_block() const {
    return static_cast<int64_t>(shape->first_token) / kBlockTokens;
  }
  int64_t end_block() const { return first_block() + shape->num_blocks; }
  // Tile of the `index`-th head of the segment's class.
  const std::byte* Tile(int index, int64_t block) const {
    const size_t tile = static_cast<size_t>(index) * shape->num_blocks +
                        (block - first_block());
    return payload.data() + tile * shape->tile.Bytes();
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
      sequence_.AddSharedBlock(layer, head,
                               segment.Tile(index, segment.first_block()));
    }
  }

  absl::Status SetAnchor(int layer, int head, int index) {
    if (anchor_.shape == nullptr) {
      return absl::OkStatus();
    }
    const SegmentShape& shape = *anchor_.shape;
    const AnchorView<const std::byte> anchor(anchor_.payload, shape.tile,
                                             shape.num_heads, shape.num_sinks);
    sink_tile_.assign(shape.tile.Bytes(), std::byte{0});
    SinksToTile(anchor.sink_keys(index), anchor.sink_values(index), shape.tile,
                static_cast<int>(shape.num_sinks), sink_tile_.data());
    return sequence_.SetAnchor(layer, head,
                               {.sink_tile = sink_tile_,
                                .key_sum = anchor.key_sum(index),
                                .value_sum = anchor.value_sum(index),
                                .num_folded = anchor.parameters().dropped,
                                .first_block = loaded_begin_ / kBlockTokens});
  }

  absl::Status AddTails(int layer, int head) {
    const int index = layer * plan_.grid.num_kv_heads + head;
    const int64_t needed =
        plan_.IsRetrieval(layer, head) ? 0 : loaded_begin_ / kBlockTokens;
    for (const LoadedSegment& tail : tails_) {
      for (int64_t block = std::max(tail.first_block(), needed);
           block < tail.end_block(); ++block) {
        WINNOW_RETURN_IF_ERROR(
            AddTailBlock(layer, head, tail, block, tail.Tile(index, block)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddTailBlock(int layer, int head, const LoadedSegment& tail,
                            int64_t block, const std::byte* tile) {
    const int64_t first = block * kBlockTokens;
    const int begin = static_cast<int>(std::max<int64_t>(
        static_cast<int64_t>(tail.shape->first_token) - first, 0));
    const int end = static_cast<int>(std::min<int64_t>(
        static_cast<int64_t>(tail.shape->end_token) - first, kBlockTokens));
    if (begin == 0 && end == kBlockTokens) {
      sequence_.AddSharedBlock(layer, head, tile);
      return absl::OkStatus();
    }
    return sequence_.CopyIntoBlock(layer, head, block, tile, begin, end);
  }

  const Manifest& manifest_;
  const Plan& plan_;
  KvSequence& sequence_;
  const int64_t loaded_begin_;
  LoadedSegment anchor_;
  std::vector<LoadedSegment> windows_;
  std::vector<LoadedSegment> retrievals_;
  std::vector<LoadedSegment> tails_;
  std::vector<std::byte> sink_tile_;
};

absl::Status LostSegment(const ManifestSegment& segment, MissReason reason) {
  return absl::AbortedError(absl::StrCat(
      "the store no longer has segment ", segment.key.ToHex().substr(0, 16),
      " (", Absl(MissReasonName(reason)), "); prefill the context again"));
}

}  // namespace

absl::StatusOr<LoadedSequence> LoadSequence(Backend& backend,
                                            const ModelConfig& config,
                                            const Manifest& manifest,
                                            KvStore& store, LeaseId lease,
                                            int64_t max_tokens) {
  LoadedSequence loaded;
  const KvDtype dtype = manifest.identity.dtype;
  WINNOW_ASSIGN_OR_RETURN(
      loaded.sequence,
      KvSequence::Create(
          backend, SequenceOptions(config, manifest.plan, dtype, max_tokens)));
  Loader loader(manifest, *loaded.sequence);
  for (const ManifestSegment& segment : manifest.segments) {
    if (!loader.Needs(segment)) {
      continue;
    }
    WINNOW_ASSIGN_OR_RETURN(ReadResult read, store.Read(lease, segment.key));
    if (read.miss != MissReason::kNone) {
      return LostSegment(segment, read.miss);
    }
    const std::span<const std::byte> payload =
        SegmentPayload(segment.key, segment.shape, read.view.bytes);
    if (payload.empty()) {
      return LostSegment(segment, MissReason::kIdentity);
    }
    loader.Add(segment.shape, payload);
    loaded.pulled_bytes += read.view.bytes.size();
    loaded.views.push_back(std::move(read.view));
  }
  WINNOW_RETURN_IF_ERROR(loader.BuildRows());
  return loaded;
}

}  // namespace winnow
