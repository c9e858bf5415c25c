#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/backend.h"
#include "gpu/model/fold_rule.h"

namespace winnow {

// Shape of a sequence's cache and the class of every head.
struct KvSequenceOptions {
  int num_layers = 0;
  int num_kv_heads = 0;
  KvTileShape tile;
  std::vector<bool> local;     // [layer * num_kv_heads + head]
  std::vector<float> weights;  // compensation, likewise; 0: no entry
  int64_t max_tokens = 0;      // appends beyond it are refused
};

// Keys and values of one sequence: a row of tiles per (layer, KV head).
//
// A row is [sinks] [tiles, one a block] and, once tokens were folded, their
// float32 sums, from which the compensation entry is made.  Tiles are either
// read in place where they lie (shared tiles of a store, which the caller
// keeps alive) or private and growing.  Private memory of local heads is
// returned block by block as folding passes it, so it stays bounded by window
// and slack.
//
// Heads fold only after a rule was set: before that all heads see everything,
// as in the prefill of a context.  Not thread-safe.
class KvSequence {
 public:
  // The backend outlives the sequence.
  static absl::StatusOr<std::unique_ptr<KvSequence>> Create(
      Backend& backend, KvSequenceOptions options);

  const KvSequenceOptions& options() const { return options_; }
  // Tokens that all layers hold.
  int64_t num_tokens() const { return num_tokens_; }
  bool IsLocal(int layer, int head) const {
    return options_.local[RowIndex(layer, head)];
  }

  // --- Growing.  A step appends the same tokens to every layer, then ends.

  // Allocates what the next `num_tokens` tokens need, so that the step that
  // appends them cannot fail for want of memory.  ResourceExhausted leaves the
  // sequence as it is.
  absl::Status Reserve(int num_tokens);
  // Key and value rows of `num_tokens` tokens at [token][KV head][head_dim].
  absl::Status Append(int layer, const float* key, const float* value,
                      int num_tokens);
  // Counts `num_tokens` as held by all layers, and returns private memory that
  // every layer has folded.
  void EndStep(int num_tokens);

  // --- Folding.

  void SetFoldRule(const FoldRule& rule) { rule_ = rule; }
  const std::optional<FoldRule>& fold_rule() const { return rule_; }
  // Adds the blocks before `visible_begin`, a block start, to the sums of the
  // layer's local heads and drops them.  Sinks are kept apart.
  absl::Status FoldBefore(int layer, int64_t visible_begin);

  // --- Reading, as attention does.

  std::span<const KvTileRef> Tiles(int layer, int head) const;
  // The compensation entry of a row; key is null where there is none.
  CompensationRef Compensation(int layer, int head) const;

  // --- State for segments.

  // The tile of a block of the sequence; null where the row has folded it.
  const void* BlockTile(int layer, int head, int64_t block) const;
  // The tile that holds the sinks; null before the first fold.
  const void* SinkTile(int layer, int head) const;
  // Number of tokens in the sums of a layer's local heads.
  int64_t NumFolded(int layer) const { return layers_[layer].num_folded; }
  std::span<const float> KeySum(int layer, int head) const;
  std::span<const float> ValueSum(int layer, int head) const;

  // --- Loading, before the first step: per row SetAnchor, then whole blocks in
  // order, then the tail; at the end FinishLoad.

  struct Anchor {
    std::span<const std::byte> sink_tile;  // a tile whose first slots are set
    std::span<const float> key_sum;
    std::span<const float> value_sum;
    int64_t num_folded = 0;
    int64_t first_block = 0;  // first block that the row holds
  };
  absl::Status SetAnchor(int layer, int head, const Anchor& anchor);
  void AddSharedBlock(int layer, int head, const void* tile);
  // Copies slots [begin, end) of a tile into the private tile of `block`, the
  // last of the row.
  absl::Status CopyIntoBlock(int layer, int head, int64_t block,
                             const void* tile, int begin, int end);
  void FinishLoad(int64_t num_tokens);

  // Bytes of private tiles held now.
  size_t PrivateBytes() const;

 private:
  struct Row {
    std::vector<KvTileRef> tiles;  // the sinks first, where they are apart
    bool sinks_apart = false;
    int64_t first_block = 0;  // block of the first tile after the sinks
  };
  struct Layer {
    int64_t num_tokens = 0;
    int64_t num_folded = 0;
    int64_t visible_begin = 0;
  };
  // Private tiles of one block for all rows of a class.
  struct PrivateBlock {
    int64_t block = 0;
    DeviceBuffer retrieval;
    DeviceBuffer local;
  };

  KvSequence(Backend& backend, KvSequenceOptions options);
  absl::Status AllocateSums();
  size_t RowIndex(int layer, int head) const {
    return static_cast<size_t>(layer) * options_.num_kv_heads + head;
  }
  float* SumAddress(size_t row, int which) const;
  void* SinkAddress(size_t row) const;
  absl::StatusOr<PrivateBlock*> EnsurePrivateBlock(int64_t block);
  void* PrivateTile(const PrivateBlock& block, size_t row) const;
  absl::Status FoldBlock(int layer, int64_t block);
  absl::Status KeepSinksApart(int layer);
  void UpdateMeans(int layer);

  Backend& backend_;
  KvSequenceOptions options_;
  std::optional<FoldRule> rule_;
  int64_t num_tokens_ = 0;
  std::vector<Layer> layers_;
  std::vector<Row> rows_;
  std::vector<int> class_index_;  // index of a row within its class
  int num_local_ = 0;
  int num_retrieval_ = 0;
  // Per local row: key sum, value sum, key mean, value mean.
  DeviceBuffer sums_;
  DeviceBuffer sinks_;                       // a tile per local row
  std::deque<PrivateBlock> private_blocks_;  // ascending blocks
  std::vector<DeviceBuffer> spare_local_;    // returned by folding
};

}  // namespace winnow
