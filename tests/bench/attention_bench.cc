// Attention against its roofs: decode against plain reads of the same memory,
// prefill in floating-point operations.
//
// The last argument is the number of threads.  Figures of one thread are per
// second of its own CPU time, so that they mean something on a busy machine
// too; figures of two are per second of real time.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "gpu/base/bfloat16.h"
#include "gpu/cpu/attention.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/host_memory.h"
#include "gpu/cpu/thread_pool.h"

namespace winnow {
namespace {

constexpr int kHeadDim = 64;

// Tiles of random keys and values, one after the other.
class Tiles {
 public:
  Tiles(size_t count, KvDtype dtype)
      : shape_{.head_dim = kHeadDim, .dtype = dtype},
        bytes_(count * shape_.Bytes()),
        memory_(*AllocateHostMemory(bytes_)) {
    FillOne(memory_);
    for (size_t i = 0; i < count; ++i) {
      auto* tile = static_cast<std::byte*>(memory_) + i * shape_.Bytes();
      if (i > 0) {
        std::memcpy(tile, memory_, shape_.Bytes());
      }
      refs_.push_back({tile, kBlockTokens});
    }
  }
  ~Tiles() { FreeHostMemory(memory_, bytes_); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  const KvTileShape& shape() const { return shape_; }
  size_t bytes() const { return bytes_; }
  std::span<const KvTileRef> refs() const { return refs_; }
  const void* memory() const { return memory_; }

 private:
  void FillOne(void* tile) const {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const size_t count = shape_.Bytes() / KvDtypeSize(shape_.dtype);
    for (size_t i = 0; i < count; ++i) {
      if (shape_.dtype == KvDtype::kFloat32) {
        static_cast<float*>(tile)[i] = normal(random);
      } else {
        static_cast<uint16_t*>(tile)[i] = ToBfloat16(normal(random));
      }
    }
  }

  KvTileShape shape_;
  size_t bytes_;
  void* memory_;
  std::vector<KvTileRef> refs_;
};

// Queries and outputs of `rows` rows side by side, as a model holds them.
struct Activations {
  Activations(int rows, int tokens, int group)
      : query(size_t{1} * rows * tokens * group * kHeadDim),
        output(query.size()) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::ranges::generate(query, [&] { return normal(random); });
  }
  std::vector<float> query;
  std::vector<float> output;
};

AttentionArgs MakeArgs(const KvTileShape& shape, int group, int64_t stride,
                       std::span<const AttentionRow> rows) {
  return {.rows = rows,
          .tile = shape,
          .group = group,
          .token_stride = stride,
          .scale = 1 / std::sqrt(static_cast<float>(kHeadDim))};
}

constexpr size_t kWorkingSet = size_t{1} << 30;

// Every byte of 1 GiB once, on as many threads as attention has.
void PlainRead(benchmark::State& state) {
  const Tiles tiles(kWorkingSet / (4 * kBlockTokens * kHeadDim),
                    KvDtype::kBfloat16);
  ThreadPool pool(static_cast<int>(state.range(0)));
  constexpr size_t kPiece = size_t{1} << 17;
  for ([[maybe_unused]] auto _ : state) {
    pool.ParallelFor(
        static_cast<int64_t>(tiles.bytes() / kPiece), [&](int64_t i, int) {
          const auto* words = reinterpret_cast<const uint64_t*>(
              static_cast<const std::byte*>(tiles.memory()) + i * kPiece);
          uint64_t sums[16] = {};
          for (size_t w = 0; w < kPiece / 8; w += 16) {
            for (int j = 0; j < 16; ++j) {
              sums[j] += words[w + j];
            }
          }
          benchmark::DoNotOptimize(sums);
        });
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(tiles.bytes()));
}
BENCHMARK(PlainRead)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(PlainRead)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

// One query token a row over 1 GiB of keys and values, 8,192 tokens a row.
void DecodeAttention(benchmark::State& state, CpuLevel level, KvDtype dtype) {
  const int group = static_cast<int>(state.range(0));
  const size_t tile_bytes =
      KvTileShape{.head_dim = kHeadDim, .dtype = dtype}.Bytes();
  const Tiles tiles(kWorkingSet / tile_bytes, dtype);
  constexpr int kRowTiles = 128;
  const int num_rows = static_cast<int>(tiles.refs().size()) / kRowTiles;
  Activations activations(num_rows, 1, group);
  std::vector<AttentionRow> rows(num_rows);
  for (int i = 0; i < num_rows; ++i) {
    rows[i].tiles = tiles.refs().subspan(size_t{1} * i * kRowTiles, kRowTiles);
    rows[i].query = activations.query.data() + i * group * kHeadDim;
    rows[i].output = activations.output.data() + i * group * kHeadDim;
  }
  ThreadPool pool(static_cast<int>(state.range(1)));
  CpuAttention attention(pool, std::min(level, DetectCpuLevel().value()));
  for ([[maybe_unused]] auto _ : state) {
    const auto status = attention.Attention(
        MakeArgs(tiles.shape(), group, group * kHeadDim, rows));
    if (!status.ok()) {
      state.SkipWithError("attention failed");
      return;
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(tiles.bytes()));
}

// The last 512 tokens of a context of 4,096, nine query heads over three KV
// heads; operations of the causal part only.
void PrefillAttention(benchmark::State& state, CpuLevel level, KvDtype dtype) {
  constexpr int kContext = 4096;
  constexpr int kChunk = 512;
  constexpr int kKvHeads = 3;
  constexpr int kGroup = 3;
  constexpr int kRowTiles = kContext / kBlockTokens;
  const Tiles tiles(kKvHeads * kRowTiles, dtype);
  Activations activations(kKvHeads, kChunk, kGroup);
  std::vector<AttentionRow> rows(kKvHeads);
  for (int i = 0; i < kKvHeads; ++i) {
    rows[i].tiles = tiles.refs().subspan(size_t{1} * i * kRowTiles, kRowTiles);
    rows[i].query = activations.query.data() + i * kGroup * kHeadDim;
    rows[i].output = activations.output.data() + i * kGroup * kHeadDim;
    rows[i].num_queries = kChunk;
  }
  ThreadPool pool(static_cast<int>(state.range(0)));
  CpuAttention attention(pool, std::min(level, DetectCpuLevel().value()));
  for ([[maybe_unused]] auto _ : state) {
    const auto status = attention.Attention(
        MakeArgs(tiles.shape(), kGroup, kKvHeads * kGroup * kHeadDim, rows));
    if (!status.ok()) {
      state.SkipWithError("attention failed");
      return;
    }
  }
  const double seen = kContext - (kChunk - 1) / 2.0;  // entries a query sees
  state.counters["FLOP/s"] =
      benchmark::Counter(4.0 * kHeadDim * seen * kChunk * kGroup * kKvHeads *
                             static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}

// Scores of nine heads over one document of 2,000 tokens, one layer.
void AttentionMass(benchmark::State& state) {
  constexpr int kTokens = 2000;
  constexpr int kKvHeads = 3;
  constexpr int kGroup = 3;
  const Tiles tiles((kTokens + kBlockTokens - 1) / kBlockTokens,
                    KvDtype::kFloat32);
  std::vector<KvTileRef> refs(tiles.refs().begin(), tiles.refs().end());
  refs.back().count = kTokens % kBlockTokens;
  Activations activations(kKvHeads, kTokens, kGroup);
  ThreadPool pool(static_cast<int>(state.range(0)));
  CpuAttention attention(pool, *DetectCpuLevel());
  const int offsets[] = {0, 1};
  double mass[2 * kGroup] = {};
  for ([[maybe_unused]] auto _ : state) {
    for (int head = 0; head < kKvHeads; ++head) {
      AttentionMassArgs args;
      args.row.tiles = refs;
      args.row.query = activations.query.data() + head * kGroup * kHeadDim;
      args.row.num_queries = kTokens;
      args.tile = tiles.shape();
      args.group = kGroup;
      args.token_stride = kKvHeads * kGroup * kHeadDim;
      args.scale = 0.125f;
      args.period = 500;
      args.offsets = offsets;
      args.mass = mass;
      if (!attention.AttentionMass(args).ok()) {
        state.SkipWithError("attention failed");
        return;
      }
    }
  }
}
BENCHMARK(AttentionMass)->Arg(1)->Unit(benchmark::kMillisecond);

#define WINNOW_ATTENTION_BENCH(name, level, dtype)                           \
  BENCHMARK_CAPTURE(DecodeAttention, name, CpuLevel::level, KvDtype::dtype)  \
      ->ArgsProduct({{1, 3, 4, 8, 16}, {1}})                                 \
      ->Unit(benchmark::kMillisecond);                                       \
  BENCHMARK_CAPTURE(DecodeAttention, name, CpuLevel::level, KvDtype::dtype)  \
      ->ArgsProduct({{1, 3, 4, 8, 16}, {2}})                                 \
      ->UseRealTime()                                                        \
      ->Unit(benchmark::kMillisecond);                                       \
  BENCHMARK_CAPTURE(PrefillAttention, name, CpuLevel::level, KvDtype::dtype) \
      ->Arg(1)                                                               \
      ->Unit(benchmark::kMillisecond);                                       \
  BENCHMARK_CAPTURE(PrefillAttention, name, CpuLevel::level, KvDtype::dtype) \
      ->Arg(2)                                                               \
      ->UseRealTime()                                                        \
      ->Unit(benchmark::kMillisecond)

WINNOW_ATTENTION_BENCH(Amx_Bfloat16, kAmx, kBfloat16);
WINNOW_ATTENTION_BENCH(Avx512Bf16_Bfloat16, kAvx512Bf16, kBfloat16);
WINNOW_ATTENTION_BENCH(Avx512_Float32, kAvx512, kFloat32);
WINNOW_ATTENTION_BENCH(Avx2_Bfloat16, kAvx2, kBfloat16);
WINNOW_ATTENTION_BENCH(Avx2_Float32, kAvx2, kFloat32);

}  // namespace
}  // namespace winnow
