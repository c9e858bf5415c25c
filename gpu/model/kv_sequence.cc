#include "gpu/model/kv_sequence.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

constexpr int kSumsPerRow = 4;
enum : uint8_t { kKeySum, kValueSum, kKeyMean, kValueMean };

}  // namespace

absl::StatusOr<std::unique_ptr<KvSequence>> KvSequence::Create(
    Backend& backend, KvSequenceOptions options) {
  const size_t rows =
      static_cast<size_t>(options.num_layers) * options.num_kv_heads;
  if (options.local.size() != rows || options.weights.size() != rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a sequence of ", rows, " rows was given ", options.local.size(),
        " classes and ", options.weights.size(), " weights"));
  }
  std::unique_ptr<KvSequence> sequence(
      new KvSequence(backend, std::move(options)));
  WINNOW_RETURN_IF_ERROR(sequence->AllocateSums());
  return sequence;
}

KvSequence::KvSequence(Backend& backend, KvSequenceOptions options)
    : backend_(backend),
      options_(std::move(options)),
      layers_(options_.num_layers),
      rows_(options_.local.size()),
      class_index_(options_.local.size()) {
  for (size_t row = 0; row < rows_.size(); ++row) {
    int& count = options_.local[row] ? num_local_ : num_retrieval_;
    class_index_[row] = count++;
  }
}

absl::Status KvSequence::AllocateSums() {
  if (num_local_ == 0) {
    return absl::OkStatus();
  }
  const size_t floats =
      size_t{kSumsPerRow} * num_local_ * options_.tile.head_dim;
  WINNOW_ASSIGN_OR_RETURN(sums_, backend_.Allocate(floats * sizeof(float)));
  WINNOW_ASSIGN_OR_RETURN(
      sinks_, backend_.Allocate(num_local_ * options_.tile.Bytes()));
  return absl::OkStatus();
}

float* KvSequence::SumAddress(size_t row, int which) const {
  const size_t index = size_t{kSumsPerRow} * class_index_[row] + which;
  return sums_.as<float>() + index * options_.tile.head_dim;
}

void* KvSequence::SinkAddress(size_t row) const {
  return sinks_.as<std::byte>() + class_index_[row] * options_.tile.Bytes();
}

void* KvSequence::PrivateTile(const PrivateBlock& block, size_t row) const {
  const DeviceBuffer& buffer =
      options_.local[row] ? block.local : block.retrieval;
  return buffer.as<std::byte>() + class_index_[row] * options_.tile.Bytes();
}

absl::StatusOr<KvSequence::PrivateBlock*> KvSequence::EnsurePrivateBlock(
    int64_t block) {
  // Rows are filled layer by layer, so a block is asked for again soon: from
  // the back.
  for (auto held = private_blocks_.rbegin(); held != private_blocks_.rend();
       ++held) {
    if (held->block == block) {
      return &*held;
    }
  }
  PrivateBlock made;
  made.block = block;
  const size_t tile = options_.tile.Bytes();
  if (num_retrieval_ > 0) {
    WINNOW_ASSIGN_OR_RETURN(made.retrieval,
                            backend_.Allocate(num_retrieval_ * tile));
  }
  if (!spare_local_.empty()) {
    made.local = std::move(spare_local_.back());
    spare_local_.pop_back();
  } else if (num_local_ > 0) {
    WINNOW_ASSIGN_OR_RETURN(made.local, backend_.Allocate(num_local_ * tile));
  }
  private_blocks_.push_back(std::move(made));
  return &private_blocks_.back();
}

absl::Status KvSequence::Reserve(int num_tokens) {
  const int64_t end = num_tokens_ + num_tokens;
  for (int64_t block = num_tokens_ / kBlockTokens; block * kBlockTokens < end;
       ++block) {
    WINNOW_RETURN_IF_ERROR(EnsurePrivateBlock(block).status());
  }
  return absl::OkStatus();
}

absl::Status KvSequence::Append(int layer, const float* key, const float* value,
                                int num_tokens) {
  Layer& state = layers_[layer];
  if (state.num_tokens + num_tokens > options_.max_tokens) {
    return absl::OutOfRangeError(absl::StrCat(
        "the sequence is limited to ", options_.max_tokens,
        " tokens and would grow to ", state.num_tokens + num_tokens));
  }
  const int64_t first_block = state.num_tokens / kBlockTokens;
  const int64_t end = state.num_tokens + num_tokens;
  const int64_t end_block = (end + kBlockTokens - 1) / kBlockTokens;
  const int num_blocks = static_cast<int>(end_block - first_block);
  const int heads = options_.num_kv_heads;
  const int head_dim = options_.tile.head_dim;

  std::vector<void*> tiles(static_cast<size_t>(heads) * num_blocks);
  for (int64_t block = first_block; block < end_block; ++block) {
    WINNOW_ASSIGN_OR_RETURN(PrivateBlock * held, EnsurePrivateBlock(block));
    for (int head = 0; head < heads; ++head) {
      const size_t index = RowIndex(layer, head);
      Row& row = rows_[index];
      void* tile = PrivateTile(*held, index);
      tiles[static_cast<size_t>(head) * num_blocks + (block - first_block)] =
          tile;
      const int count = static_cast<int>(
          std::min<int64_t>(kBlockTokens, end - block * kBlockTokens));
      if (block == first_block && state.num_tokens % kBlockTokens != 0) {
        row.tiles.back().count = count;
      } else {
        row.tiles.push_back({.tile = tile, .count = count});
      }
    }
  }

  std::vector<PackArgs> packs(heads);
  for (int head = 0; head < heads; ++head) {
    packs[head] = {
        .key = key + static_cast<size_t>(head) * head_dim,
        .value = value + static_cast<size_t>(head) * head_dim,
        .token_stride = int64_t{heads} * head_dim,
        .num_tokens = num_tokens,
        .shape = options_.tile,
        .tiles = std::span<void* const>(tiles).subspan(
            static_cast<size_t>(head) * num_blocks, num_blocks),
        .first_slot = static_cast<int>(state.num_tokens % kBlockTokens),
    };
  }
  WINNOW_RETURN_IF_ERROR(backend_.Pack(packs));
  state.num_tokens = end;
  return absl::OkStatus();
}

void KvSequence::EndStep(int num_tokens) {
  num_tokens_ += num_tokens;
  int64_t visible = num_tokens_;
  for (const Layer& layer : layers_) {
    assert(layer.num_tokens == num_tokens_);
    visible = std::min(visible, layer.visible_begin);
  }
  for (PrivateBlock& held : private_blocks_) {
    const bool folded = (held.block + 1) * kBlockTokens <= visible;
    if (folded && held.local.address() != nullptr) {
      spare_local_.push_back(std::move(held.local));
      held.local = DeviceBuffer();
    }
  }
}

absl::Status KvSequence::FoldBefore(int layer, int64_t visible_begin) {
  Layer& state = layers_[layer];
  if (num_local_ == 0 || visible_begin <= state.visible_begin) {
    return absl::OkStatus();
  }
  if (state.visible_begin == 0) {
    WINNOW_RETURN_IF_ERROR(KeepSinksApart(layer));
  }
  for (int64_t block = state.visible_begin / kBlockTokens;
       block < visible_begin / kBlockTokens; ++block) {
    WINNOW_RETURN_IF_ERROR(FoldBlock(layer, block));
  }
  state.visible_begin = visible_begin;
  UpdateMeans(layer);
  return absl::OkStatus();
}

absl::Status KvSequence::KeepSinksApart(int layer) {
  assert(rule_.has_value());
  const int sinks = rule_->sinks;
  std::vector<CopySlotsArgs> copies;
  for (int head = 0; head < options_.num_kv_heads; ++head) {
    const size_t index = RowIndex(layer, head);
    Row& row = rows_[index];
    if (!options_.local[index]) {
      continue;
    }
    copies.push_back({.source = row.tiles.front().tile,
                      .target = SinkAddress(index),
                      .shape = options_.tile,
                      .begin = 0,
                      .end = sinks});
    row.sinks_apart = sinks > 0;
    if (row.sinks_apart) {
      row.tiles.insert(row.tiles.begin(),
                       {.tile = SinkAddress(index), .count = sinks});
    }
  }
  return backend_.CopySlots(copies);
}

absl::Status KvSequence::FoldBlock(int layer, int64_t block) {
  assert(rule_.has_value());
  const int begin = block == 0 ? rule_->sinks : 0;
  std::vector<FoldArgs> folds;
  for (int head = 0; head < options_.num_kv_heads; ++head) {
    const size_t index = RowIndex(layer, head);
    Row& row = rows_[index];
    if (!options_.local[index]) {
      continue;
    }
    const auto oldest = row.tiles.begin() + (row.sinks_apart ? 1 : 0);
    assert(oldest->count == kBlockTokens && row.first_block == block);
    folds.push_back({.tile = oldest->tile,
                     .shape = options_.tile,
                     .begin = begin,
                     .end = kBlockTokens,
                     .key_sum = SumAddress(index, kKeySum),
                     .value_sum = SumAddress(index, kValueSum)});
    row.tiles.erase(oldest);
    row.first_block = block + 1;
  }
  layers_[layer].num_folded += kBlockTokens - begin;
  return backend_.Fold(folds);
}

void KvSequence::UpdateMeans(int layer) {
  const auto count = static_cast<float>(layers_[layer].num_folded);
  for (int head = 0; head < options_.num_kv_heads; ++head) {
    const size_t row = RowIndex(layer, head);
    if (!options_.local[row] || count == 0) {
      continue;
    }
    for (int dim = 0; dim < options_.tile.head_dim; ++dim) {
      SumAddress(row, kKeyMean)[dim] = SumAddress(row, kKeySum)[dim] / count;
      SumAddress(row, kValueMean)[dim] =
          SumAddress(row, kValueSum)[dim] / count;
    }
  }
}

std::span<const KvTileRef> KvSequence::Tiles(int layer, int head) const {
  return rows_[RowIndex(layer, head)].tiles;
}

CompensationRef KvSequence::Compensation(int layer, int head) const {
  const size_t row = RowIndex(layer, head);
  const int64_t count = layers_[layer].num_folded;
  const float weight = options_.weights[row];
  if (!options_.local[row] || count == 0 || !(weight > 0)) {
    return {};
  }
  return {.key = SumAddress(row, kKeyMean),
          .value = SumAddress(row, kValueMean),
          .log_bias = std::log(weight * static_cast<float>(count))};
}

const void* KvSequence::BlockTile(int layer, int head, int64_t block) const {
  const Row& row = rows_[RowIndex(layer, head)];
  if (block < row.first_block) {
    return nullptr;
  }
  const int64_t index = block - row.first_block + (row.sinks_apart ? 1 : 0);
  assert(index < std::ssize(row.tiles));
  return row.tiles[index].tile;
}

const void* KvSequence::SinkTile(int layer, int head) const {
  const size_t row = RowIndex(layer, head);
  return rows_[row].sinks_apart ? SinkAddress(row) : nullptr;
}

std::span<const float> KvSequence::KeySum(int layer, int head) const {
  return {SumAddress(RowIndex(layer, head), kKeySum),
          static_cast<size_t>(options_.tile.head_dim)};
}

std::span<const float> KvSequence::ValueSum(int layer, int head) const {
  return {SumAddress(RowIndex(layer, head), kValueSum),
          static_cast<size_t>(options_.tile.head_dim)};
}

absl::Status KvSequence::SetAnchor(int layer, int head, const Anchor& anchor) {
  const size_t index = RowIndex(layer, head);
  assert(options_.local[index] && rows_[index].tiles.empty());
  assert(rule_.has_value());
  const int sinks = rule_->sinks;
  Row& row = rows_[index];
  Layer& state = layers_[layer];
  std::copy(anchor.key_sum.begin(), anchor.key_sum.end(),
            SumAddress(index, kKeySum));
  std::copy(anchor.value_sum.begin(), anchor.value_sum.end(),
            SumAddress(index, kValueSum));
  state.num_folded = anchor.num_folded;
  state.visible_begin = anchor.first_block * kBlockTokens;
  row.first_block = anchor.first_block;
  row.sinks_apart = sinks > 0;
  if (!row.sinks_apart) {
    return absl::OkStatus();
  }
  row.tiles.push_back({.tile = SinkAddress(index), .count = sinks});
  const CopySlotsArgs copy = {.source = anchor.sink_tile.data(),
                              .target = SinkAddress(index),
                              .shape = options_.tile,
                              .begin = 0,
                              .end = sinks};
  return backend_.CopySlots({&copy, 1});
}

void KvSequence::AddSharedBlock(int layer, int head, const void* tile) {
  rows_[RowIndex(layer, head)].tiles.push_back({.tile = tile});
}

absl::Status KvSequence::CopyIntoBlock(int layer, int head, int64_t block,
                                       const void* tile, int begin, int end) {
  WINNOW_ASSIGN_OR_RETURN(PrivateBlock * held, EnsurePrivateBlock(block));
  const size_t index = RowIndex(layer, head);
  Row& row = rows_[index];
  void* target = PrivateTile(*held, index);
  if (begin > 0) {
    assert(row.tiles.back().tile == target);
    row.tiles.back().count = end;
  } else {
    row.tiles.push_back({.tile = target, .count = end});
  }
  const CopySlotsArgs copy = {.source = tile,
                              .target = target,
                              .shape = options_.tile,
                              .begin = begin,
                              .end = end};
  return backend_.CopySlots({&copy, 1});
}

void KvSequence::FinishLoad(int64_t num_tokens) {
  num_tokens_ = num_tokens;
  for (int layer = 0; layer < options_.num_layers; ++layer) {
    layers_[layer].num_tokens = num_tokens;
    UpdateMeans(layer);
  }
}

size_t KvSequence::PrivateBytes() const {
  size_t bytes = 0;
  for (const PrivateBlock& held : private_blocks_) {
    bytes += held.retrieval.bytes() + held.local.bytes();
  }
  for (const DeviceBuffer& spare : spare_local_) {
    bytes += spare.bytes();
  }
  return bytes;
}

}  // namespace winnow
