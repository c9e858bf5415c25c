#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpu/cpu/amx.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/linear.h"

namespace winnow {

// Linear for many tokens with AMX, for weights in panels.
//
// Inputs and weights are rounded to 15 bits in two planes of 8, with one scale
// a token (or row) and kMaxSteps * 64 columns, and
//
//   (128 a + b) (128 c + d) ~ 128 (128 ac + ad + bc)
//
// are three products of bytes; what is left out, bd, is below the rounding.
// Bytes multiply at twice bfloat16's rate, so this is 1.5 times the work of
// bfloat16 alone, which decided one token of 1,117 (SmolLM2-135M, teacher-
// forced) otherwise than float32 where the two best logits were 0.065 apart;
// splitting only the inputs into two bfloat16 took as long as this.
//
// Scratch: the input of at most kMaxTokens tokens at 2 bytes a value; for each
// thread two panels of at most kMaxSteps steps.  More tokens take several
// passes.
//
// Needs CpuLevel::kAmx.  One caller at a time.
class TileGemm {
 public:
  static constexpr int kMaxTokens = 1024;
  // Blocks of 64 columns multiplied in one go: the planes of two panels of so
  // many stay in a core's L1 cache, those of 512 tokens in its L2 cache, and
  // the sums fit in 32 bits.
  static constexpr int kMaxSteps = 9;

  explicit TileGemm(ThreadPool& pool);

  // Products that share input, columns and tokens.  Arguments are checked by
  // the caller.
  void LinearAll(std::span<const LinearArgs> products);

 private:
  // Two panels of one product.
  struct Strip {
    const LinearArgs* product = nullptr;
    int64_t first_row = 0;
  };
  // Steps [first, first + count) of the columns.
  struct Chunk {
    int first = 0;
    int count = 0;
  };
  // What a thread makes of a strip's weights.
  struct StripWeights {
    std::vector<amx::Tile> tiles;  // [plane][panel][step]
    float scales[2 * kPanelRows];
  };

  void LinearOfPart(std::span<const LinearArgs> products);
  Chunk ChunkAt(int step) const;
  size_t FirstTile(int token_block, Chunk chunk) const;
  float& InputScale(int64_t token, Chunk chunk);
  void PackInput(const LinearArgs& args);
  void PackTokens(const LinearArgs& args, int token_block, Chunk chunk);
  void PlanStrips(std::span<const LinearArgs> products);
  void PackWeights(const Strip& strip, Chunk chunk, StripWeights& weights);
  void RunStrip(const Strip& strip, Chunk chunk, StripWeights& weights);

  ThreadPool& pool_;
  // Of the products at hand.
  int64_t cols_ = 0;
  int total_steps_ = 0;
  int token_blocks_ = 0;
  std::vector<amx::Tile> input_;     // [chunk][token block][plane][step]
  std::vector<float> input_scales_;  // [chunk][token]
  std::vector<Strip> strips_;
  std::vector<StripWeights> weights_;  // by thread
};

}  // namespace winnow
