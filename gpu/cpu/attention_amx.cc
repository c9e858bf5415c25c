// Attention with AMX: logits and weighted values are products of tiles, the
// softmax between them is that of vectors, a query a lane.
//
// Sixteen queries are the columns of a tile that stays put (pairs of their
// dimensions, `b` of gpu/cpu/amx.h), sixteen keys its partner, row-major as
// they lie; out come logits [key][lane].  Then the probabilities, pairs of
// tokens, stay put, and the partners are sixteen dimensions of 32 values, as
// they lie too; out comes output [dim][lane].  Nothing of a KV tile is copied
// or transposed.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gpu/cpu/amx.h"
#include "gpu/cpu/attention_amx_columns.h"
#include "gpu/cpu/attention_bf16.h"

namespace winnow {
namespace {

using columns::kWidth;
using columns::Lanes;

// So few lanes are faster in vectors: a tile would be filled by a quarter.
constexpr int kVectorLanes = 4;

// The KV tile that is read next, asked for while the present one is worked on:
// the hardware's prefetcher does not follow loads of tiles.  Evenly, as bursts
// would fill the queue of misses and stall the loads behind them.
class Ahead {
 public:
  // In `num_steps` steps.
  Ahead(const std::byte* address, size_t bytes, int num_steps)
      : address_(address),
        end_(address + bytes),
        step_((bytes / static_cast<size_t>(num_steps) + 63) / 64 * 64) {}

  void Step() {
    const std::byte* stop = std::min(address_ + step_, end_);
    for (; address_ < stop; address_ += 64) {
      Prefetch(address_, 64);
    }
  }

 private:
  const std::byte* address_;
  const std::byte* end_;
  size_t step_;
};

// Steps that a group, or a pair of them, takes over a KV tile.
int StepsOf(int head_dim) {
  constexpr int kDims = 2 * amx::kTileBfloat16;
  return (head_dim + kDims - 1) / kDims * (kBlockTokens / amx::kTileRows) +
         head_dim / amx::kTileRows;
}

// Tiles of the matrix units: sums of one key (or dimension) tile for two groups
// of lanes, its two halves, and what stays put, two halves of each group.
constexpr int kSumsOfFirst = 0;
constexpr int kSumsOfSecond = 1;
constexpr int kKeys = 2;
constexpr int kMoreKeys = 3;
constexpr int kFirstGroup = 4;
constexpr int kSecondGroup = 6;

// The two tiles of `kPair` groups that stay put, [2 * kTilePairs, kStride].
template <int kPair>
void LoadGroups(const uint32_t* pairs, size_t row_bytes) {
  const uint32_t* second_half = pairs + amx::kTilePairs * row_bytes / 4;
  amx::Load<kFirstGroup>(pairs, row_bytes);
  amx::Load<kFirstGroup + 1>(second_half, row_bytes);
  if constexpr (kPair == 2) {
    amx::Load<kSecondGroup>(pairs + kWidth, row_bytes);
    amx::Load<kSecondGroup + 1>(second_half + kWidth, row_bytes);
  }
}

template <int kPair>
void MultiplyFirstHalf() {
  amx::MultiplyBfloat16<kSumsOfFirst, kKeys, kFirstGroup>();
  if constexpr (kPair == 2) {
    amx::MultiplyBfloat16<kSumsOfSecond, kKeys, kSecondGroup>();
  }
}

template <int kPair>
void MultiplySecondHalf() {
  amx::MultiplyBfloat16<kSumsOfFirst, kMoreKeys, kFirstGroup + 1>();
  if constexpr (kPair == 2) {
    amx::MultiplyBfloat16<kSumsOfSecond, kMoreKeys, kSecondGroup + 1>();
  }
}

template <int kPair>
void LoadSums(const float* sums, size_t row_bytes) {
  amx::Load<kSumsOfFirst>(sums, row_bytes);
  if constexpr (kPair == 2) {
    amx::Load<kSumsOfSecond>(sums + kWidth, row_bytes);
  }
}

template <int kPair>
void StoreSums(float* sums, size_t row_bytes) {
  amx::Store<kSumsOfFirst>(sums, row_bytes);
  if constexpr (kPair == 2) {
    amx::Store<kSumsOfSecond>(sums + kWidth, row_bytes);
  }
}

// logits[k, lane] = key[k] . query[lane] of `kPair` groups, 64 dimensions at a
// time; whole tiles of keys.
template <int kPair, int kGroups>
void Logits(const uint16_t* keys, int num_keys, int head_dim, int group,
            const Lanes<kGroups>& lanes, Ahead& ahead) {
  constexpr size_t kRowBytes = Lanes<kGroups>::kRowBytes;
  const size_t key_bytes = static_cast<size_t>(head_dim) * sizeof(uint16_t);
  for (int dim = 0; dim < head_dim; dim += 2 * amx::kTileBfloat16) {
    const bool whole = head_dim - dim >= 2 * amx::kTileBfloat16;
    const uint32_t* query =
        lanes.query + dim / 2 * Lanes<kGroups>::kStride + group * kWidth;
    if (whole) {
      LoadGroups<kPair>(query, kRowBytes);
    } else {
      amx::Load<kFirstGroup>(query, kRowBytes);
      if constexpr (kPair == 2) {
        amx::Load<kSecondGroup>(query + kWidth, kRowBytes);
      }
    }
    for (int k = 0; k < num_keys; k += amx::kTileRows) {
      ahead.Step();
      float* logits =
          lanes.logits + k * Lanes<kGroups>::kStride + group * kWidth;
      if (dim == 0) {
        amx::Zero<kSumsOfFirst>();
        amx::Zero<kSumsOfSecond>();
      } else {
        LoadSums<kPair>(logits, kRowBytes);
      }
      const uint16_t* key = keys + k * head_dim + dim;
      amx::Load<kKeys>(key, key_bytes);
      MultiplyFirstHalf<kPair>();
      if (whole) {
        amx::Load<kMoreKeys>(key + amx::kTileBfloat16, key_bytes);
        MultiplySecondHalf<kPair>();
      }
      StoreSums<kPair>(logits, kRowBytes);
    }
  }
}

// output[dim, lane] += sum_k value[dim][k] * probability[k, lane].
template <int kPair, int kGroups>
void AddValues(const ValueHalves& values, int num_keys, int head_dim, int group,
               const Lanes<kGroups>& lanes, Ahead& ahead) {
  constexpr size_t kRowBytes = Lanes<kGroups>::kRowBytes;
  LoadGroups<kPair>(lanes.probabilities + group * kWidth, kRowBytes);
  for (int dim = 0; dim < head_dim; dim += amx::kTileRows) {
    ahead.Step();
    float* output =
        lanes.output + dim * Lanes<kGroups>::kStride + group * kWidth;
    LoadSums<kPair>(output, kRowBytes);
    amx::Load<kKeys>(values.at[0] + dim * kValueGroupTokens);
    MultiplyFirstHalf<kPair>();
    if (num_keys > kValueGroupTokens) {
      amx::Load<kMoreKeys>(values.at[1] + dim * kValueGroupTokens);
      MultiplySecondHalf<kPair>();
    }
    StoreSums<kPair>(output, kRowBytes);
  }
}

// One KV tile: entries [first, first + count) of the span.
struct TileEntries {
  const uint16_t* keys;
  ValueHalves values;
  int first;
  int count;
  bool masked;  // a lane does not see some of them
};

template <int kPair, int kGroups>
void AttendTile(const AttentionSpan& span, const TileEntries& tile, int group,
                const Lanes<kGroups>& lanes, Ahead& ahead) {
  const int head_dim = span.shape.head_dim;
  Logits<kPair>(tile.keys, tile.count, head_dim, group, lanes, ahead);
  for (int g = group; g < group + kPair; ++g) {
    if (tile.masked) {
      columns::MaskLogits(tile.first, tile.count, span.scale_log2, g, lanes);
    }
    columns::OnlineSoftmax(tile.count, span.scale_log2, head_dim, g, lanes);
  }
  AddValues<kPair>(tile.values, tile.count, head_dim, group, lanes, ahead);
}

template <int kGroups>
void Attend(const AttentionSpan& span, std::byte* scratch,
            const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const Lanes<kGroups> lanes = columns::Carve<kGroups>(scratch, head_dim);
  columns::LoadLanes(span, lanes);
  const auto [least, most] =
      std::minmax_element(span.visible, span.visible + span.num_lanes);
  alignas(64) uint16_t copy[kValueGroupTokens * 256];
  const amx::TileScope tiles;
  int first = 0;
  for (size_t i = 0; i < span.tiles.size() && first < *most; ++i) {
    const KvTileRef& ref = span.tiles[i];
    const int count = std::min(ref.count, *most - first);
    if (count == 0) {
      continue;
    }
    const auto* keys = static_cast<const uint16_t*>(ref.tile);
    const TileEntries tile = {
        .keys = keys,
        .values = HalvesOf(keys + kBlockTokens * head_dim, count,
                           kValueGroupTokens, head_dim, copy),
        .first = first,
        .count = count,
        .masked = first + count > *least};
    first += ref.count;
    const bool last = i + 1 == span.tiles.size() || first >= *most;
    Ahead ahead(NextTile(span, i, last), span.shape.Bytes(),
                (kGroups + 1) / 2 * StepsOf(head_dim));
    for (int group = 0; group + 2 <= kGroups; group += 2) {
      AttendTile<2>(span, tile, group, lanes, ahead);
    }
    if constexpr (kGroups % 2 != 0) {
      AttendTile<1>(span, tile, kGroups - 1, lanes, ahead);
    }
  }
  columns::StorePartial(span, lanes, partial);
}

}  // namespace

void AmxAttention(const AttentionSpan& span, std::byte* scratch,
                  const AttentionPartial& partial) {
  if (span.num_lanes <= kVectorLanes ||
      span.shape.head_dim % amx::kTileBfloat16 != 0) {
    return Bfloat16Attention(span, scratch, partial);
  }
  static_assert(kMaxLanes == 3 * kWidth);
  switch ((span.num_lanes - 1) / kWidth) {
    case 0:
      return Attend<1>(span, scratch, partial);
    case 1:
      return Attend<2>(span, scratch, partial);
    default:
      return Attend<3>(span, scratch, partial);
  }
}

}  // namespace winnow
