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
#include "gpu/cpu/attention_bf16.h"

namespace winnow {
namespace {

constexpr int kWidth = 16;  // lanes of a group: a vector, and a tile
// So few lanes are faster in vectors: a tile would be filled by a quarter.
constexpr int kVectorLanes = 4;
constexpr int kHalves = kBlockTokens / kValueGroupTokens;

// A lane's logits are exponentiated relative to the largest one seen, but that
// is only followed once it has grown by a factor of 2^kMaxGrowth: the weights
// of a softmax are the same, float32 and bfloat16 have the room, and the sums
// need not be rescaled at every tile (as FlashAttention-4 does).
constexpr float kMaxGrowth = 8;

// 2^x for x below 2^kMaxGrowth, to 1.6e-4; exact for whole x.  A quarter of
// what rounding the result to bfloat16 costs, at half the instructions of Exp2.
WINNOW_AVX512_BF16_INLINE __m512 CoarseExp2(__m512 x) {
  const __m512 part = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 sum = _mm512_set1_ps(0.07944f);
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.22449f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.69607f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(sum, x);  // takes the whole part of x
}

// Scratch of one call with kGroups groups of lanes.
template <int kGroups>
struct Lanes {
  static constexpr int kStride = kGroups * kWidth;
  static constexpr size_t kRowBytes = kStride * sizeof(float);

  uint32_t* query;          // [head_dim / 2, kStride] pairs
  float* output;            // [head_dim, kStride]
  float* logits;            // [kBlockTokens, kStride]
  uint32_t* probabilities;  // [kBlockTokens / 2, kStride] pairs
  float* max;               // [kStride]
  float* sum;               // [kStride]
  int32_t* visible;         // [kStride]
};

template <int kGroups>
Lanes<kGroups> Carve(std::byte* scratch, int head_dim) {
  constexpr size_t kStride = Lanes<kGroups>::kStride;
  const auto take = [&scratch](size_t rows) {
    std::byte* taken = scratch;
    scratch += rows * kStride * sizeof(uint32_t);
    return taken;
  };
  const auto dims = static_cast<size_t>(head_dim);
  return {
      .query = reinterpret_cast<uint32_t*>(take(dims / 2)),
      .output = reinterpret_cast<float*>(take(dims)),
      .logits = reinterpret_cast<float*>(take(kBlockTokens)),
      .probabilities = reinterpret_cast<uint32_t*>(take(kBlockTokens / 2)),
      .max = reinterpret_cast<float*>(take(1)),
      .sum = reinterpret_cast<float*>(take(1)),
      .visible = reinterpret_cast<int32_t*>(take(1)),
  };
}

// Element offsets of a column's rows.
template <int kGroups>
WINNOW_AVX512_BF16_INLINE __m512i ColumnOffsets() {
  return _mm512_mullo_epi32(
      _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
      _mm512_set1_epi32(Lanes<kGroups>::kStride));
}

// Spreads the queries over the lanes; padding lanes are zero and see nothing.
template <int kGroups>
WINNOW_AVX512_BF16 void LoadLanes(const AttentionSpan& span,
                                  const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const int head_dim = span.shape.head_dim;
  const __m512i column = ColumnOffsets<kGroups>();
  for (int lane = 0; lane < kStride; ++lane) {
    const bool real = lane < span.num_lanes;
    for (int dim = 0; dim < head_dim; dim += 2 * kWidth) {
      const __m512i pairs =
          real ? RoundPairs(_mm512_loadu_ps(span.query[lane] + dim),
                            _mm512_loadu_ps(span.query[lane] + dim + kWidth))
               : _mm512_setzero_si512();
      _mm512_i32scatter_epi32(lanes.query + dim / 2 * kStride + lane, column,
                              pairs, sizeof(uint32_t));
    }
    lanes.visible[lane] = real ? span.visible[lane] : 0;
    lanes.max[lane] = kNoMax;
    lanes.sum[lane] = 0;
  }
  std::fill_n(lanes.output, head_dim * kStride, 0.0f);
}

template <int kGroups>
WINNOW_AVX512_BF16 void StorePartial(const AttentionSpan& span,
                                     const Lanes<kGroups>& lanes,
                                     const AttentionPartial& partial) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const int head_dim = span.shape.head_dim;
  const __m512i column = ColumnOffsets<kGroups>();
  for (int lane = 0; lane < span.num_lanes; ++lane) {
    partial.max[lane] = lanes.max[lane];
    partial.sum[lane] = lanes.sum[lane];
    for (int dim = 0; dim < head_dim; dim += kWidth) {
      _mm512_storeu_ps(
          partial.output + lane * head_dim + dim,
          _mm512_i32gather_ps(column, lanes.output + dim * kStride + lane,
                              sizeof(float)));
    }
  }
}

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
enum TileNumber : int {
  kSumsOfFirst = 0,
  kSumsOfSecond = 1,
  kKeys = 2,
  kMoreKeys = 3,
  kFirstGroup = 4,
  kSecondGroup = 6,
};

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

// The values of a KV tile, by halves of 32 tokens.
struct Values {
  const uint16_t* halves[kHalves];
  int num_halves;
};

// Those of `count` entries.  Slots beyond them, which nobody may look at, count
// as zero: the half that has some is copied.
WINNOW_AVX512_BF16 Values ValuesOf(const uint16_t* values, int count,
                                   int head_dim, uint16_t* copy) {
  const int half_size = head_dim * kValueGroupTokens;
  Values result = {
      .halves = {values, values + half_size},
      .num_halves = (count + kValueGroupTokens - 1) / kValueGroupTokens};
  const int valid = count % kValueGroupTokens;
  if (valid != 0) {
    const uint16_t* half = result.halves[result.num_halves - 1];
    const __mmask32 mask = (uint32_t{1} << valid) - 1;
    for (int i = 0; i < half_size; i += kValueGroupTokens) {
      _mm512_store_si512(copy + i, _mm512_maskz_loadu_epi16(mask, half + i));
    }
    result.halves[result.num_halves - 1] = copy;
  }
  return result;
}

// output[dim, lane] += sum_k value[dim][k] * probability[k, lane].
template <int kPair, int kGroups>
void AddValues(const Values& values, int head_dim, int group,
               const Lanes<kGroups>& lanes, Ahead& ahead) {
  constexpr size_t kRowBytes = Lanes<kGroups>::kRowBytes;
  LoadGroups<kPair>(lanes.probabilities + group * kWidth, kRowBytes);
  for (int dim = 0; dim < head_dim; dim += amx::kTileRows) {
    ahead.Step();
    float* output =
        lanes.output + dim * Lanes<kGroups>::kStride + group * kWidth;
    LoadSums<kPair>(output, kRowBytes);
    amx::Load<kKeys>(values.halves[0] + dim * kValueGroupTokens);
    MultiplyFirstHalf<kPair>();
    if (values.num_halves == kHalves) {
      amx::Load<kMoreKeys>(values.halves[1] + dim * kValueGroupTokens);
      MultiplySecondHalf<kPair>();
    }
    StoreSums<kPair>(output, kRowBytes);
  }
}

// Masks logits, which are not scaled yet, of entries that a lane does not see;
// `first` is the index of the tile's first entry.
template <int kGroups>
WINNOW_AVX512_BF16 void MaskLogits(int first, int num_keys, float scale_log2,
                                   int group, const Lanes<kGroups>& lanes) {
  const __m512 masked = _mm512_set1_ps(kMaskedLogit / scale_log2);
  const int lane = group * kWidth;
  const __m512i visible = _mm512_load_si512(lanes.visible + lane);
  for (int k = 0; k < num_keys; ++k) {
    const __mmask16 unseen =
        _mm512_cmple_epi32_mask(visible, _mm512_set1_epi32(first + k));
    _mm512_mask_store_ps(lanes.logits + k * Lanes<kGroups>::kStride + lane,
                         unseen, masked);
  }
}

template <int kGroups>
WINNOW_AVX512_BF16_INLINE __m512 LargestLogit(const float* logits,
                                              int num_keys) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 first = _mm512_load_ps(logits);
  __m512 max[4] = {first, first, first, first};
  int k = 0;
  for (; k + 4 <= num_keys; k += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      max[i] =
          _mm512_max_ps(max[i], _mm512_load_ps(logits + (k + i) * kStride));
    }
  }
  for (; k < num_keys; ++k) {
    max[0] = _mm512_max_ps(max[0], _mm512_load_ps(logits + k * kStride));
  }
  return _mm512_max_ps(_mm512_max_ps(max[0], max[1]),
                       _mm512_max_ps(max[2], max[3]));
}

// Multiplies sums and outputs of a group that were relative to a maximum that
// is left behind.
template <int kGroups>
WINNOW_AVX512_BF16 void Rescale(__m512 factor, int head_dim, int group,
                                const Lanes<kGroups>& lanes) {
  float* sum = lanes.sum + group * kWidth;
  _mm512_store_ps(sum, _mm512_mul_ps(factor, _mm512_load_ps(sum)));
  for (int dim = 0; dim < head_dim; ++dim) {
    float* output =
        lanes.output + dim * Lanes<kGroups>::kStride + group * kWidth;
    _mm512_store_ps(output, _mm512_mul_ps(factor, _mm512_load_ps(output)));
  }
}

// Sums of probabilities as they are rounded: weights that add up to one.
struct Sums {
  __m512 even;
  __m512 odd;
};

// Stores the probabilities of two tokens and adds them to `sums`.
WINNOW_AVX512_BF16_INLINE void StorePair(__m512 even, __m512 odd,
                                         uint32_t* probabilities, Sums& sums) {
  const __m512i pairs = RoundInterleaved(even, odd);
  _mm512_store_si512(probabilities, pairs);
  sums.even = _mm512_add_ps(sums.even,
                            _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
  sums.odd = _mm512_add_ps(sums.odd, _mm512_castsi512_ps(_mm512_and_si512(
                                         pairs, _mm512_set1_epi32(-65536))));
}

// 2^(scale * logits - max) of a token.
WINNOW_AVX512_BF16_INLINE __m512 Probability(__m512 scale, const float* logits,
                                             __m512 max) {
  return CoarseExp2(_mm512_fmsub_ps(scale, _mm512_load_ps(logits), max));
}

// Turns the logits of one tile into pairs of probabilities, zero beyond
// `num_keys`, relative to the lane's maximum, which is followed where it must.
template <int kGroups>
WINNOW_AVX512_BF16 void OnlineSoftmax(int num_keys, float scale_log2,
                                      int head_dim, int group,
                                      const Lanes<kGroups>& lanes) {
  constexpr int kStride = Lanes<kGroups>::kStride;
  const __m512 scale = _mm512_set1_ps(scale_log2);
  const int lane = group * kWidth;
  const float* logits = lanes.logits + lane;
  const __m512 old_max = _mm512_load_ps(lanes.max + lane);
  const __m512 new_max =
      _mm512_mul_ps(scale, LargestLogit<kGroups>(logits, num_keys));
  const __mmask16 grown = _mm512_cmp_ps_mask(
      new_max, _mm512_add_ps(old_max, _mm512_set1_ps(kMaxGrowth)), _CMP_GT_OQ);
  const __m512 max = _mm512_mask_mov_ps(old_max, grown, new_max);
  if (grown != 0) {
    Rescale(Exp2(_mm512_sub_ps(old_max, max)), head_dim, group, lanes);
    _mm512_store_ps(lanes.max + lane, max);
  }
  Sums sums = {.even = _mm512_load_ps(lanes.sum + lane),
               .odd = _mm512_setzero_ps()};
  uint32_t* probabilities = lanes.probabilities + lane;
  int k = 0;
  for (; k + 2 <= num_keys; k += 2) {
    StorePair(Probability(scale, logits + k * kStride, max),
              Probability(scale, logits + (k + 1) * kStride, max),
              probabilities + k / 2 * kStride, sums);
  }
  if (k < num_keys) {
    StorePair(Probability(scale, logits + k * kStride, max),
              _mm512_setzero_ps(), probabilities + k / 2 * kStride, sums);
    k += 2;
  }
  for (; k < kBlockTokens; k += 2) {
    _mm512_store_si512(probabilities + k / 2 * kStride, _mm512_setzero_si512());
  }
  _mm512_store_ps(lanes.sum + lane, _mm512_add_ps(sums.even, sums.odd));
}

// One KV tile: entries [first, first + count) of the span.
struct TileEntries {
  const uint16_t* keys;
  Values values;
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
      MaskLogits(tile.first, tile.count, span.scale_log2, g, lanes);
    }
    OnlineSoftmax(tile.count, span.scale_log2, head_dim, g, lanes);
  }
  AddValues<kPair>(tile.values, head_dim, group, lanes, ahead);
}

// What is read after tile `index`, the last one where `last`.
const std::byte* NextTile(const AttentionSpan& span, size_t index, bool last) {
  const void* next = nullptr;
  if (!last) {
    next = span.tiles[index + 1].tile;
  } else if (span.next_tile != nullptr) {
    next = (*span.next_tile)();
  }
  return static_cast<const std::byte*>(
      next != nullptr ? next : span.tiles[index].tile);
}

template <int kGroups>
void Attend(const AttentionSpan& span, std::byte* scratch,
            const AttentionPartial& partial) {
  const int head_dim = span.shape.head_dim;
  const Lanes<kGroups> lanes = Carve<kGroups>(scratch, head_dim);
  LoadLanes(span, lanes);
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
    const TileEntries tile = {.keys = keys,
                              .values = ValuesOf(keys + kBlockTokens * head_dim,
                                                 count, head_dim, copy),
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
  StorePartial(span, lanes, partial);
}

}  // namespace

void AmxAttention(const AttentionSpan& span, std::byte* scratch,
                  const AttentionPartial& partial) {
  if (span.num_lanes <= kVectorLanes ||
      span.shape.head_dim % amx::kTileBfloat16 != 0) {
    return Bfloat16Attention(span, scratch, partial);
  }
  switch ((span.num_lanes - 1) / kWidth) {
    case 0:
      return Attend<1>(span, scratch, partial);
    case 1:
      return Attend<2>(span, scratch, partial);
    case 2:
      return Attend<3>(span, scratch, partial);
    default:
      return Attend<4>(span, scratch, partial);
  }
}

}  // namespace winnow
