#include "services/bench/bench_roofs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <span>

#include "absl/time/time.h"

#include "gpu/base/bfloat16.h"
#include "gpu/base/clock.h"
#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "services/bench/bench_read_kernel.h"
#include "services/common/stage_timer.h"

namespace winnow {
namespace {

// Bytes that a thread takes at a time.
constexpr size_t kPieceBytes = size_t{1} << 17;
// A pass over little memory is too short to be timed.
constexpr size_t kLeastTimedBytes = size_t{256} << 20;
// The layers of a large model are alike: some of them do.
constexpr double kGemmOperations = 2e11;

std::array<WeightView, 7> Matrices(const LayerWeights& layer) {
  return {layer.query, layer.key, layer.value, layer.attention_output,
          layer.gate,  layer.up,  layer.down};
}

double Operations(const LayerWeights& layer) {
  double operations = 0;
  for (const WeightView& matrix : Matrices(layer)) {
    operations += 2.0 * static_cast<double>(matrix.rows) *
                  static_cast<double>(matrix.cols);
  }
  return operations;
}

size_t RoundUp(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Bytes per second of a body that moves `bytes`.
template <typename Body>
double Rate(double bytes, const Body& body) {
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    body();
  }
  return bytes / std::max(absl::ToDoubleSeconds(time), 1e-9);
}

}  // namespace

uint64_t DecodeWeightBytes(const ModelWeights& weights) {
  uint64_t bytes = weights.output.Bytes();
  for (const LayerWeights& layer : weights.layers) {
    for (const WeightView& matrix : Matrices(layer)) {
      bytes += matrix.Bytes();
    }
  }
  return bytes;
}

double LinearOperations(const ModelWeights& weights) {
  double operations = 0;
  for (const LayerWeights& layer : weights.layers) {
    operations += Operations(layer);
  }
  return operations;
}

absl::StatusOr<std::unique_ptr<RoofMeter>> RoofMeter::Create(
    Backend& backend, const Model& model, int num_threads,
    size_t working_set_bytes) {
  WINNOW_ASSIGN_OR_RETURN(const CpuLevel level, DetectCpuLevel());
  std::unique_ptr<RoofMeter> meter(
      new RoofMeter(backend, model, level, num_threads));
  // Two halves of whole pieces, for copies.
  WINNOW_ASSIGN_OR_RETURN(
      meter->memory_,
      backend.Allocate(RoundUp(working_set_bytes, 2 * kPieceBytes)));
  int64_t widest_input = 0;
  int64_t widest_output = 0;
  for (const WeightView& matrix : Matrices(model.weights().layers.front())) {
    widest_input = std::max(widest_input, matrix.cols);
    widest_output = std::max(widest_output, matrix.rows);
  }
  WINNOW_ASSIGN_OR_RETURN(
      meter->input_,
      backend.Allocate(widest_input * kGemmTokens * sizeof(float)));
  WINNOW_ASSIGN_OR_RETURN(
      meter->output_,
      backend.Allocate(widest_output * kGemmTokens * sizeof(float)));
  meter->Fill();
  WINNOW_RETURN_IF_ERROR(meter->RunGemm(1));  // warms up
  return meter;
}

RoofMeter::RoofMeter(Backend& backend, const Model& model, CpuLevel level,
                     int num_threads)
    : backend_(backend),
      weights_(model.weights()),
      level_(level),
      pool_(num_threads) {}

void RoofMeter::Fill() {
  // Memory that was never written is one page of zeros, which caches hold.
  auto* const first = memory_.as<uint16_t>();
  for (size_t i = 0; i < kPieceBytes / sizeof(uint16_t); ++i) {
    first[i] = ToBfloat16(static_cast<float>(2 * UniformAt(1, i) - 1));
  }
  auto* const bytes = memory_.as<std::byte>();
  for (size_t at = kPieceBytes; at < memory_.bytes(); at += kPieceBytes) {
    std::memcpy(bytes + at, bytes, kPieceBytes);
  }
  auto* const input = input_.as<float>();
  for (size_t i = 0; i < input_.bytes() / sizeof(float); ++i) {
    input[i] = static_cast<float>(2 * UniformAt(2, i) - 1);
  }
}

std::span<const std::byte> RoofMeter::memory() const {
  return {memory_.as<std::byte>(), memory_.bytes()};
}

void RoofMeter::ReadOnce(size_t bytes, int num_threads) {
  ThreadPool& pool = num_threads == 1 ? one_thread_ : pool_;
  std::atomic<uint64_t> total = 0;  // keeps the reads from being left out
  pool.ParallelFor(
      static_cast<int64_t>(bytes / kPieceBytes), [&](int64_t i, int) {
        total.fetch_add(
            SumWords(memory().subspan(i * kPieceBytes, kPieceBytes), level_),
            std::memory_order_relaxed);
      });
}

double RoofMeter::ReadRate(size_t bytes, int num_threads) {
  bytes = std::clamp(RoundUp(bytes, kPieceBytes), kPieceBytes, memory_.bytes());
  const size_t passes = (kLeastTimedBytes + bytes - 1) / bytes;
  if (passes > 1) {
    ReadOnce(bytes, num_threads);
  }
  return Rate(static_cast<double>(bytes * passes), [&] {
    for (size_t pass = 0; pass < passes; ++pass) {
      ReadOnce(bytes, num_threads);
    }
  });
}

double RoofMeter::CopyRate(int num_threads) {
  ThreadPool& pool = num_threads == 1 ? one_thread_ : pool_;
  // The halves are equal, so that a copy changes nothing.
  const size_t half = memory_.bytes() / 2;
  auto* const bytes = memory_.as<std::byte>();
  return Rate(static_cast<double>(half), [&] {
    pool.ParallelFor(static_cast<int64_t>(half / kPieceBytes),
                     [&](int64_t i, int) {
                       std::byte* const source = bytes + i * kPieceBytes;
                       std::memcpy(source + half, source, kPieceBytes);
                     });
  });
}

absl::StatusOr<double> RoofMeter::GemmRate() {
  const double layer = Operations(weights_.layers.front()) * kGemmTokens;
  const int num_layers =
      static_cast<int>(std::clamp(kGemmOperations / layer, 1.0,
                                  static_cast<double>(weights_.layers.size())));
  absl::Status status;
  const double rate =
      Rate(layer * num_layers, [&] { status = RunGemm(num_layers); });
  WINNOW_RETURN_IF_ERROR(status);
  return rate;
}

absl::Status RoofMeter::RunGemm(int num_layers) {
  for (int i = 0; i < num_layers; ++i) {
    for (const WeightView& matrix : Matrices(weights_.layers[i])) {
      WINNOW_RETURN_IF_ERROR(backend_.Linear({.input = input_.as<float>(),
                                              .weight = matrix,
                                              .output = output_.as<float>(),
                                              .num_tokens = kGemmTokens}));
    }
  }
  return absl::OkStatus();
}

absl::Status RoofMeter::Sample() {
  const int threads = num_threads();
  samples_.read.push_back(ReadRate(memory_.bytes(), threads));
  samples_.read_one_thread.push_back(ReadRate(memory_.bytes(), 1));
  samples_.read_weights.push_back(
      ReadRate(DecodeWeightBytes(weights_), threads));
  samples_.copy.push_back(CopyRate(threads));
  samples_.copy_one_thread.push_back(CopyRate(1));
  WINNOW_ASSIGN_OR_RETURN(const double gemm, GemmRate());
  samples_.gemm.push_back(gemm);
  return absl::OkStatus();
}

RoofFigures RoofMeter::Figures() const {
  return {.working_set_bytes = memory_.bytes(),
          .read_bytes_per_s = SpreadOf(samples_.read),
          .read_one_thread_bytes_per_s = SpreadOf(samples_.read_one_thread),
          .copy_bytes_per_s = SpreadOf(samples_.copy),
          .copy_one_thread_bytes_per_s = SpreadOf(samples_.copy_one_thread),
          .weight_bytes = DecodeWeightBytes(weights_),
          .read_weights_bytes_per_s = SpreadOf(samples_.read_weights),
          .gemm_flops_per_s = SpreadOf(samples_.gemm)};
}

}  // namespace winnow
