#pragma once

#include <span>
#include <vector>

#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/gemm.h"
#include "gpu/cpu/int8_dot.h"
#include "gpu/cpu/int8_input.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/cpu/tile_gemm.h"
#include "gpu/linear.h"

namespace winnow {

// Matrix operations on the CPU.  A few tokens are bound by the speed of
// memory: the weights are read once, by dot products, on integers where
// numerics and type allow (panel_dot.h, int8_dot.h), else in float32.  More
// tokens go to the matrix units (tile_gemm.h), stay with dot products where
// there are none, or go to oneDNN if the weights are in rows (gemm.h).
//
// Scratch beside the GEMMs': the rounded inputs of the products of one call,
// and one float32 row per thread.
//
// One caller at a time.
class CpuLinear final : public LinearOps {
 public:
  // So many tokens are few: for weights in rows, and for weights in panels
  // where there is AMX, about where both ways took equally long for SmolLM2.
  // Without AMX all are, for weights in panels.
  static constexpr int kMaxDotTokens = 14;
  static constexpr int kMaxPanelDotTokens = 24;

  // `pool` outlives this.
  CpuLinear(ThreadPool& pool, CpuLevel level, Numerics numerics);

  size_t ResidentBytes(const WeightView& weight) const override;
  WeightView MakeResident(const WeightView& weight, std::byte* memory) override;
  absl::Status LinearAll(std::span<const LinearArgs> products) override;
  absl::Status Embed(const EmbedArgs& args) override;

 private:
  // Some rows of one product.
  struct Piece {
    const LinearArgs* product = nullptr;
    const Int8Block* input = nullptr;  // null: products in float32
    int64_t first_row = 0;
    int64_t last_row = 0;
  };

  bool UsesPanels() const;
  absl::Status CheckLayout(const WeightView& weight) const;
  bool UsesIntegers(const WeightView& weight) const;
  bool AreFew(const LinearArgs& args) const;
  absl::Status LinearOfMany(std::span<const LinearArgs> products);
  void RoundInputs(std::span<const LinearArgs> products);
  void RoundInput(const LinearArgs& args, Int8Block* blocks);
  void PlanPieces(std::span<const LinearArgs> products);
  void RunPiece(const Piece& piece, int thread);
  void FloatDotRow(const LinearArgs& args, int64_t row, float* weights) const;

  ThreadPool& pool_;
  const CpuLevel level_;
  const Numerics numerics_;
  Gemm gemm_;
  TileGemm tile_gemm_;
  std::vector<Int8Block> blocks_;
  std::vector<size_t> first_blocks_;  // by product
  std::vector<Piece> pieces_;
  std::vector<std::vector<float>> rows_;  // by thread
};

}  // namespace winnow
