#include "gpu/cpu/tile_gemm.h"

#include <algorithm>

#include "gpu/cpu/avx512_bf16.h"
#include "gpu/cpu/int8_input.h"
#include "gpu/cpu/weight_panels.h"

namespace winnow {
namespace {

using amx::Tile;

constexpr int kPlanes = 2;
constexpr int kStripPanels = 2;
constexpr int kStripRows = kStripPanels * kPanelRows;
constexpr int kBlockRows = amx::kTileRows;  // tokens of a block
constexpr int kStepCols = amx::kTileBytes;  // columns of a step
constexpr int kStepBlocks = kStepCols / kPanelBlockValues;
constexpr int kVector = 16;

static_assert(int64_t{127} * 127 * TileGemm::kMaxSteps * kStepCols * 128 <
              INT32_MAX -
                  (int64_t{2} * 127 * 64 * TileGemm::kMaxSteps * kStepCols));

int CeilDiv(int64_t count, int64_t unit) {
  return static_cast<int>((count + unit - 1) / unit);
}

// Sixteen values from `values`; beyond `count` zero.
WINNOW_AVX512_BF16_INLINE __m512 LoadUpTo(const float* values, int64_t count) {
  const auto present = static_cast<__mmask16>(
      count >= kVector ? 0xffff : (1u << std::max<int64_t>(count, 0)) - 1);
  return _mm512_maskz_loadu_ps(present, values);
}

// 64 integers of 16 bits, those of `first` before those of `second` within each
// 128 bits, to bytes in the order that they had as four vectors of 32 bits.
WINNOW_AVX512_BF16_INLINE __m512i PackBytes(__m512i first, __m512i second) {
  const __m512i order =
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second));
}

// kStepCols values, times `inverse`, to a row of either plane; beyond `count`
// zero.
WINNOW_AVX512_BF16_INLINE void PackStep(const float* values, int64_t count,
                                        __m512 inverse, int8_t* coarse,
                                        int8_t* fine) {
  __m512i high[2];
  __m512i low[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t at = int64_t{2} * kVector * i;
    // Within 128 bits four of the one and four of the other.
    const __m512i rounded = _mm512_packs_epi32(
        _mm512_cvtps_epi32(
            _mm512_mul_ps(LoadUpTo(values + at, count - at), inverse)),
        _mm512_cvtps_epi32(_mm512_mul_ps(
            LoadUpTo(values + at + kVector, count - at - kVector), inverse)));
    high[i] =
        _mm512_srai_epi16(_mm512_add_epi16(rounded, _mm512_set1_epi16(64)), 7);
    low[i] = _mm512_sub_epi16(rounded, _mm512_slli_epi16(high[i], 7));
  }
  _mm512_store_si512(coarse, PackBytes(high[0], high[1]));
  _mm512_store_si512(fine, PackBytes(low[0], low[1]));
}

// Rounds `count` values of a token to two planes of tiles, row `row` of each,
// zero beyond them; returns the scale.
WINNOW_AVX512_BF16 float PackRow(const float* values, int64_t count, int steps,
                                 Tile* coarse, Tile* fine, int row) {
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += kVector) {
    largest =
        _mm512_max_ps(largest, _mm512_abs_ps(LoadUpTo(values + i, count - i)));
  }
  const float limit = _mm512_reduce_max_ps(largest);
  // So small a limit that its inverse overflows rounds to zero.
  const __m512 inverse =
      _mm512_set1_ps(limit > 1e-34f ? kPlaneLimit / limit : 0.0f);
  for (int step = 0; step < steps; ++step) {
    const int64_t at = int64_t{step} * kStepCols;
    PackStep(values + at, count - at, inverse, coarse[step].rows[row],
             fine[step].rows[row]);
  }
  return limit / kPlaneLimit;
}

// Sums of a token block with two panels: of the coarse planes' products, and of
// the mixed ones.
struct alignas(64) Sums {
  int32_t coarse[kStripPanels][kBlockRows][kPanelRows];
  int32_t mixed[kStripPanels][kBlockRows][kPanelRows];
};

// Where the sums of a block go.
struct Output {
  const float* input_scales;   // [tokens of the block]
  const float* weight_scales;  // [kStripRows]
  float* rows;     // of the block's first token, at the strip's first row
  int64_t stride;  // floats from a token to the next
  int num_tokens;
  int num_rows;
  bool accumulate;
};

// Writes the sums of a block bit by bit, while the next block is multiplied.
class SumWriter {
 public:
  SumWriter() = default;  // of nothing
  SumWriter(const Sums& sums, const Output& output)
      : sums_(&sums), output_(output) {}

  // Some more tokens.
  WINNOW_AVX512_BF16_INLINE void Write(int count) {
    const int stop = std::min(token_ + count, output_.num_tokens);
    if (output_.num_rows == kStripRows) {
      WriteWhole(stop);
    } else {
      WritePart(stop);
    }
    token_ = stop;
  }

 private:
  // Sixteen rows of a token, those of `present` of `old` added if they are to
  // accumulate.
  WINNOW_AVX512_BF16_INLINE __m512 Row(int panel, int token, __mmask16 present,
                                       const float* old) const {
    const __m512i sum = _mm512_add_epi32(
        _mm512_slli_epi32(_mm512_load_si512(sums_->coarse[panel][token]), 7),
        _mm512_load_si512(sums_->mixed[panel][token]));
    // Both sums lack a factor of the planes' base.
    const __m512 scale = _mm512_mul_ps(
        _mm512_loadu_ps(output_.weight_scales + panel * kPanelRows),
        _mm512_set1_ps(128 * output_.input_scales[token]));
    const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
    return output_.accumulate
               ? _mm512_add_ps(_mm512_maskz_loadu_ps(present, old), product)
               : product;
  }

  WINNOW_AVX512_BF16_INLINE void WriteWhole(int stop) const {
    float* out = output_.rows + token_ * output_.stride;
    for (int token = token_; token < stop; ++token) {
      constexpr __mmask16 kAll = 0xffff;
      _mm512_storeu_ps(out, Row(0, token, kAll, out));
      _mm512_storeu_ps(out + kPanelRows, Row(1, token, kAll, out + kPanelRows));
      out += output_.stride;
    }
  }

  WINNOW_AVX512_BF16_INLINE void WritePart(int stop) const {
    for (int token = token_; token < stop; ++token) {
      for (int first = 0; first < output_.num_rows; first += kPanelRows) {
        const int rows = std::min(kPanelRows, output_.num_rows - first);
        const auto present = static_cast<__mmask16>((1u << rows) - 1);
        float* out = output_.rows + token * output_.stride + first;
        _mm512_mask_storeu_ps(out, present,
                              Row(first / kPanelRows, token, present, out));
      }
    }
  }

  const Sums* sums_ = nullptr;
  Output output_ = {};
  int token_ = 0;
};

// `input` is [plane][step], `weights` [plane][panel][step]; `earlier` is
// written on the way, as vectors and tiles work side by side.
WINNOW_AVX512_BF16 void Multiply(const Tile* input, const Tile* weights,
                                 int steps, SumWriter& earlier, Sums& sums) {
  const int tokens_a_step = CeilDiv(kBlockRows, steps);
  amx::Zero<0>();
  amx::Zero<1>();
  amx::Zero<2>();
  amx::Zero<3>();
  for (int step = 0; step < steps; ++step) {
    amx::Load<4>(input + step);
    amx::Load<6>(weights + step);
    amx::MultiplyBytes<0, 4, 6>();
    amx::Load<5>(input + steps + step);
    amx::MultiplyBytes<2, 5, 6>();
    amx::Load<7>(weights + steps + step);
    amx::MultiplyBytes<1, 4, 7>();
    amx::MultiplyBytes<3, 5, 7>();
    amx::Load<6>(weights + 2 * steps + step);
    amx::MultiplyBytes<2, 4, 6>();
    amx::Load<7>(weights + 3 * steps + step);
    amx::MultiplyBytes<3, 4, 7>();
    earlier.Write(tokens_a_step);
  }
  amx::Store<0>(sums.coarse[0]);
  amx::Store<1>(sums.coarse[1]);
  amx::Store<2>(sums.mixed[0]);
  amx::Store<3>(sums.mixed[1]);
}

WINNOW_AVX512_BF16 void Finish(SumWriter& writer) { writer.Write(kBlockRows); }

void AddBias(const LinearArgs& args, int64_t first_row) {
  const int64_t rows =
      std::min<int64_t>(kStripRows, args.weight.rows - first_row);
  for (int64_t token = 0; token < args.num_tokens; ++token) {
    float* output = args.output + token * args.weight.rows + first_row;
    for (int64_t row = 0; row < rows; ++row) {
      output[row] += args.bias[first_row + row];
    }
  }
}

}  // namespace

TileGemm::TileGemm(ThreadPool& pool)
    : pool_(pool), weights_(static_cast<size_t>(pool.num_threads())) {}

void TileGemm::LinearAll(std::span<const LinearArgs> products) {
  const int num_tokens = products.front().num_tokens;
  std::vector<LinearArgs> part(products.begin(), products.end());
  for (int64_t token = 0; token < num_tokens; token += kMaxTokens) {
    for (size_t i = 0; i < part.size(); ++i) {
      part[i].input = products[i].input + token * products[i].weight.cols;
      part[i].output = products[i].output + token * products[i].weight.rows;
      part[i].num_tokens =
          static_cast<int>(std::min<int64_t>(kMaxTokens, num_tokens - token));
    }
    LinearOfPart(part);
  }
}

void TileGemm::LinearOfPart(std::span<const LinearArgs> products) {
  PackInput(products.front());
  PlanStrips(products);
  // All strips of a chunk before the next: its input stays in the caches.
  for (int step = 0; step < total_steps_;) {
    const Chunk chunk = ChunkAt(step);
    pool_.ParallelFor(std::ssize(strips_), [&](int64_t i, int thread) {
      RunStrip(strips_[static_cast<size_t>(i)], chunk,
               weights_[static_cast<size_t>(thread)]);
    });
    step += chunk.count;
  }
}

// Equal chunks that fit.
TileGemm::Chunk TileGemm::ChunkAt(int step) const {
  const int steps = CeilDiv(total_steps_, CeilDiv(total_steps_, kMaxSteps));
  const int first = step / steps * steps;
  return {first, std::min(steps, total_steps_ - first)};
}

size_t TileGemm::FirstTile(int token_block, Chunk chunk) const {
  const int64_t steps_before =
      int64_t{token_blocks_} * chunk.first + int64_t{token_block} * chunk.count;
  return static_cast<size_t>(steps_before * kPlanes);
}

float& TileGemm::InputScale(int64_t token, Chunk chunk) {
  const int64_t before =
      chunk.first / ChunkAt(0).count * int64_t{token_blocks_} * kBlockRows;
  return input_scales_[static_cast<size_t>(before + token)];
}

void TileGemm::PackInput(const LinearArgs& args) {
  cols_ = args.weight.cols;
  total_steps_ = CeilDiv(cols_, kStepCols);
  token_blocks_ = CeilDiv(args.num_tokens, kBlockRows);
  const auto tiles =
      static_cast<size_t>(token_blocks_) * total_steps_ * kPlanes;
  input_.resize(std::max(input_.size(), tiles));
  const int chunks = CeilDiv(total_steps_, ChunkAt(0).count);
  const auto scales = static_cast<size_t>(chunks) * token_blocks_ * kBlockRows;
  input_scales_.resize(std::max(input_scales_.size(), scales));
  pool_.ParallelFor(token_blocks_, [&](int64_t block, int) {
    for (int step = 0; step < total_steps_;) {
      const Chunk chunk = ChunkAt(step);
      PackTokens(args, static_cast<int>(block), chunk);
      step += chunk.count;
    }
  });
}

// Tokens beyond the last are left as they are: nobody looks at their sums.
void TileGemm::PackTokens(const LinearArgs& args, int token_block,
                          Chunk chunk) {
  Tile* coarse = &input_[FirstTile(token_block, chunk)];
  Tile* fine = coarse + chunk.count;
  const int64_t first_col = int64_t{chunk.first} * kStepCols;
  const int64_t count =
      std::min<int64_t>(cols_ - first_col, int64_t{chunk.count} * kStepCols);
  const int64_t first_token = int64_t{token_block} * kBlockRows;
  const int tokens = static_cast<int>(
      std::min<int64_t>(kBlockRows, args.num_tokens - first_token));
  for (int i = 0; i < tokens; ++i) {
    InputScale(first_token + i, chunk) =
        PackRow(args.input + (first_token + i) * cols_ + first_col, count,
                chunk.count, coarse, fine, i);
  }
}

void TileGemm::PlanStrips(std::span<const LinearArgs> products) {
  strips_.clear();
  for (const LinearArgs& args : products) {
    for (int64_t row = 0; row < args.weight.rows; row += kStripRows) {
      strips_.push_back({&args, row});
    }
  }
}

// A panel beyond the last is left as it is: nobody looks at its sums.
void TileGemm::PackWeights(const Strip& strip, Chunk chunk,
                           StripWeights& weights) {
  const WeightView& matrix = strip.product->weight;
  weights.tiles.resize(size_t{kPlanes} * kStripPanels * kMaxSteps);
  const int64_t first_block = int64_t{chunk.first} * kStepBlocks;
  const int64_t blocks =
      std::min<int64_t>(matrix.cols / kPanelBlockValues - first_block,
                        int64_t{chunk.count} * kStepBlocks);
  for (int panel = 0; panel < kStripPanels; ++panel) {
    const int64_t row = strip.first_row + panel * kPanelRows;
    if (row >= matrix.rows) {
      break;
    }
    Tile* coarse = &weights.tiles[size_t{1} * panel * chunk.count];
    Tile* fine = coarse + kStripPanels * chunk.count;
    if (blocks % kStepBlocks != 0) {
      coarse[chunk.count - 1] = fine[chunk.count - 1] = Tile{};
    }
    QuantizePanel(matrix, row / kPanelRows, first_block, blocks,
                  {.scales = weights.scales + panel * kPanelRows,
                   .coarse = coarse->rows[0],
                   .fine = fine->rows[0]});
  }
}

void TileGemm::RunStrip(const Strip& strip, Chunk chunk,
                        StripWeights& weights) {
  const LinearArgs& args = *strip.product;
  PackWeights(strip, chunk, weights);
  const amx::TileScope tiles;
  Sums sums[2];
  SumWriter writer;
  for (int block = 0; block < token_blocks_; ++block) {
    const int64_t token = int64_t{block} * kBlockRows;
    Multiply(&input_[FirstTile(block, chunk)], weights.tiles.data(),
             chunk.count, writer, sums[block % 2]);
    writer = SumWriter(
        sums[block % 2],
        {.input_scales = &InputScale(token, chunk),
         .weight_scales = weights.scales,
         .rows = args.output + token * args.weight.rows + strip.first_row,
         .stride = args.weight.rows,
         .num_tokens = static_cast<int>(
             std::min<int64_t>(kBlockRows, args.num_tokens - token)),
         .num_rows = static_cast<int>(
             std::min<int64_t>(kStripRows, args.weight.rows - strip.first_row)),
         .accumulate = args.accumulate || chunk.first > 0});
  }
  Finish(writer);
  if (args.bias != nullptr && chunk.first + chunk.count == total_steps_) {
    AddBias(args, strip.first_row);
  }
}

}  // namespace winnow
