#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/backend.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/thread_pool.h"
#include "gpu/model/model.h"
#include "services/bench/bench_spread.h"

namespace winnow {

// Tokens of the matrix products that the GEMM roof is measured with.
inline constexpr int kGemmTokens = 512;

// What this machine can do at most.
struct RoofFigures {
  size_t working_set_bytes = 0;  // of the four figures that follow
  Spread read_bytes_per_s;       // all threads
  Spread read_one_thread_bytes_per_s;
  Spread copy_bytes_per_s;             // memcpy, bytes copied; all threads
  Spread copy_one_thread_bytes_per_s;  // the same
  size_t weight_bytes = 0;             // that one decode step reads
  Spread read_weights_bytes_per_s;     // plain reads of as many, all threads
  Spread gemm_flops_per_s;             // the model's own layers, kGemmTokens
};

// Weights that every decode step reads: all layers and the output matrix.
uint64_t DecodeWeightBytes(const ModelWeights& weights);
// Multiplications and additions of all layers' matrices for one token.
double LinearOperations(const ModelWeights& weights);

// Measures the roofs, sample by sample, so that they can alternate with what is
// measured against them.  Not thread-safe; backend and model outlive it.
class RoofMeter {
 public:
  // Takes `working_set_bytes` of memory, rounded up, and fills it with finite
  // bfloat16 values.  ResourceExhausted if it is not to be had.
  static absl::StatusOr<std::unique_ptr<RoofMeter>> Create(
      Backend& backend, const Model& model, int num_threads,
      size_t working_set_bytes);

  // One sample of every roof.
  absl::Status Sample();
  // Of the samples so far; at least one.
  RoofFigures Figures() const;

  // Plain reads of the first `bytes` of the working set, over and over, as
  // decode reads weights and cache: caches are warm where they can be.
  double ReadRate(size_t bytes, int num_threads);

  // The working set, for others to read: 64-byte aligned.
  std::span<const std::byte> memory() const;
  int num_threads() const { return pool_.num_threads(); }

 private:
  struct Samples {
    std::vector<double> read;
    std::vector<double> read_one_thread;
    std::vector<double> read_weights;
    std::vector<double> copy;
    std::vector<double> copy_one_thread;
    std::vector<double> gemm;
  };

  RoofMeter(Backend& backend, const Model& model, CpuLevel level,
            int num_threads);
  void Fill();
  void ReadOnce(size_t bytes, int num_threads);
  double CopyRate(int num_threads);
  absl::StatusOr<double> GemmRate();
  absl::Status RunGemm(int num_layers);

  Backend& backend_;
  const ModelWeights& weights_;
  const CpuLevel level_;
  ThreadPool pool_;
  ThreadPool one_thread_{1};
  DeviceBuffer memory_;
  DeviceBuffer input_;
  DeviceBuffer output_;
  Samples samples_;
};

}  // namespace winnow
