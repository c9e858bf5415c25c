#pragma once

#include <span>
#include <vector>

#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/gemm.h"
#include "gpu/cpu/int8_dot.h"
#include "gpu/cpu/int8_input.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/linear.h"

namespace winnow {

// Matrix operations on the CPU.  A few tokens are bound by the speed of
// memory: the weights are read once, by dot products, on integers where
// numerics and type allow (panel_dot.h, int8_dot.h), else in float32.  More
// tokens go to oneDNN (gemm.h).
//
// Scratch beside Gemm's: the rounded inputs of the products of one call, and
// one float32 row per thread.
//
// One caller at a time.
class CpuLinear final : public LinearOps {
 public:
  // So many tokens are few, for weights in rows and in panels: about where both
  // ways took equally long for SmolLM2 with AVX512-BF16.
  static constexpr int kMaxDotTokens = 14;
  static constexpr int kMaxPanelDotTokens = 40;

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
  void RoundInputs(std::span<const LinearArgs> products);
  void PlanPieces(std::span<const LinearArgs> products);
  void RunPiece(const Piece& piece, int thread);
  void FloatDotRow(const LinearArgs& args, int64_t row, float* weights) const;

  ThreadPool& pool_;
  const CpuLevel level_;
  const Numerics numerics_;
  Gemm gemm_;
  std::vector<Int8Block> blocks_;
  std::vector<size_t> first_blocks_;  // by product
  std::vector<Piece> pieces_;
  std::vector<std::vector<float>> rows_;  // by thread
};

}  // namespace winnow
