// How fast the linear layers of SmolLM2-135M run: decoding by the bytes of
// weights read per second, prefill by floating-point operations per second.
//
//   linear_bench --benchmark_filter=Decode
//
// Weights are random.  Decode reads 98 MB a step, three times this machine's
// L3 cache, so that the rate is that of memory.

#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "gpu/cpu/cpu_backend.h"
#include "tests/contract/random_weight.h"

namespace winnow {
namespace {

struct LayerShape {
  int64_t rows;
  int64_t cols;
};
// q, k, v, o, gate, up, down.
constexpr LayerShape kLayer[] = {{576, 576}, {192, 576},  {192, 576},
                                 {576, 576}, {1536, 576}, {1536, 576},
                                 {576, 1536}};
constexpr int kNumLayers = 30;
constexpr int64_t kVocabulary = 49152;
constexpr int64_t kHidden = 576;
constexpr int64_t kWidest = 1536;

std::unique_ptr<Backend> MakeBackend(int num_threads, Numerics numerics,
                                     CpuLevel level) {
  return CreateCpuBackend({.numerics = numerics,
                           .num_threads = num_threads,
                           .max_level = level})
      .value();
}

// Random weights in the form that the backend prefers.
class ResidentWeights {
 public:
  explicit ResidentWeights(Backend& backend) : backend_(backend) {}

  void Add(WeightType type, const LayerShape& shape) {
    rows_.push_back(
        std::make_unique<RandomWeight>(type, shape.rows, shape.cols, 0, 1));
    const WeightView& view = rows_.back()->view();
    const size_t bytes = backend_.ResidentBytes(view);
    memory_.push_back(backend_.Allocate(bytes).value());
    views_.push_back(bytes == 0 ? view
                                : backend_.MakeResident(
                                      view, memory_.back().as<std::byte>()));
  }
  void AddLayers(int layers, WeightType type) {
    for (int layer = 0; layer < layers; ++layer) {
      for (const LayerShape& shape : kLayer) {
        Add(type, shape);
      }
    }
  }

  const std::vector<WeightView>& views() const { return views_; }

 private:
  Backend& backend_;
  std::vector<std::unique_ptr<RandomWeight>> rows_;
  std::vector<DeviceBuffer> memory_;
  std::vector<WeightView> views_;
};

std::vector<float> RandomInput(int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(random);
  }
  return values;
}

// Every linear layer of the model, as one decode step of `tokens` sequences.
// Arguments: tokens, threads, level.
void Decode(benchmark::State& state) {
  const auto tokens = static_cast<int>(state.range(0));
  const auto backend =
      MakeBackend(static_cast<int>(state.range(1)), Numerics::kFast,
                  static_cast<CpuLevel>(state.range(2)));
  ResidentWeights weights(*backend);
  weights.AddLayers(kNumLayers, WeightType::kQ4_1);
  weights.Add(WeightType::kQ8_0, {kVocabulary, kHidden});
  const auto input = RandomInput(tokens * kWidest);
  std::vector<float> output(static_cast<size_t>(tokens * kVocabulary));
  size_t bytes = 0;
  for (const WeightView& weight : weights.views()) {
    bytes += weight.Bytes();
  }
  for ([[maybe_unused]] auto _ : state) {
    for (const WeightView& weight : weights.views()) {
      if (!backend
               ->Linear({.input = input.data(),
                         .weight = weight,
                         .output = output.data(),
                         .num_tokens = tokens})
               .ok()) {
        state.SkipWithError("Linear failed");
      }
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * state.iterations());
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens * state.iterations()),
                         benchmark::Counter::kIsRate);
}
BENCHMARK(Decode)
    ->ArgNames({"tokens", "threads", "level"})
    ->ArgsProduct({{1, 2, 4, 8, 12, 16, 24, 32}, {1, 2}, {2, 3}})
    ->ArgsProduct({{1, 4}, {2}, {0}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// One layer's matrices, as a prefill chunk.
// Arguments: tokens, threads, numerics, weight type, level.
void Prefill(benchmark::State& state) {
  const auto tokens = static_cast<int>(state.range(0));
  const auto backend = MakeBackend(static_cast<int>(state.range(1)),
                                   static_cast<Numerics>(state.range(2)),
                                   static_cast<CpuLevel>(state.range(4)));
  ResidentWeights weights(*backend);
  weights.AddLayers(4, static_cast<WeightType>(state.range(3)));
  const auto input = RandomInput(tokens * kWidest);
  std::vector<float> output(static_cast<size_t>(tokens * kWidest));
  double operations = 0;
  for (const WeightView& weight : weights.views()) {
    operations += 2.0 * tokens * static_cast<double>(weight.rows) *
                  static_cast<double>(weight.cols);
  }
  for ([[maybe_unused]] auto _ : state) {
    for (const WeightView& weight : weights.views()) {
      if (!backend
               ->Linear({.input = input.data(),
                         .weight = weight,
                         .output = output.data(),
                         .num_tokens = tokens})
               .ok()) {
        state.SkipWithError("Linear failed");
      }
    }
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(operations * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}
BENCHMARK(Prefill)
    ->ArgNames({"tokens", "threads", "numerics", "type", "level"})
    ->ArgsProduct({{64, 128, 512}, {1, 2}, {0}, {5}, {2, 3}})
    ->Args({512, 2, 1, 5, 2})
    ->Args({512, 2, 0, 2, 2})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace winnow
