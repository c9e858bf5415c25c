// Speed of the local store against the speed of this machine's memory.
//
// Everything runs over a working set of 1 GiB, which no cache holds.  Write is
// Allocate, fill, Seal and Commit; the fill is one memcpy, as Memcpy is.  Read
// is what a reader in place pays: the check of every byte, no copy.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "absl/time/time.h"

#include "benchmark/benchmark.h"
#include "cache_store/format/segment.h"
#include "cache_store/store/local_store.h"

namespace winnow {
namespace {

constexpr size_t kWorkingSetBytes = size_t{1} << 30;
constexpr size_t kContextSegments = 32;  // of one write or lease

SegmentShape ShapeOfHeads(int64_t num_heads) {
  return {.kind = SegmentKind::kRetrieval,
          .tile = {.head_dim = 64, .dtype = KvDtype::kBfloat16},
          .num_layers = 1,
          .num_heads = static_cast<uint32_t>(num_heads),
          .num_blocks = 1,
          .end_token = kBlockTokens};
}

SegmentKey KeyOf(uint64_t number) {
  SegmentKey key;
  std::memcpy(key.bytes.data(), &number, sizeof(number));
  return key;
}

// A store, the segments that fill it, and bytes to fill them with.
struct Bench {
  explicit Bench(int64_t num_heads, bool verify_on_read = true)
      : shape(ShapeOfHeads(num_heads)),
        segment_bytes(shape.SegmentBytes()),
        num_contexts(kWorkingSetBytes / (segment_bytes * kContextSegments)),
        source(kWorkingSetBytes) {
    store =
        LocalStore::Create({.capacity_bytes = num_contexts * kContextSegments *
                                              ArenaBytes(segment_bytes),
                            .verify_on_read = verify_on_read})
            .value();
    std::memset(source.data(), 0x5A, source.size());
  }

  std::vector<SegmentSpec> Specs(uint64_t context) const {
    std::vector<SegmentSpec> specs;
    specs.reserve(kContextSegments);
    for (size_t i = 0; i < kContextSegments; ++i) {
      specs.push_back({.key = KeyOf(context * kContextSegments + i),
                       .kind = shape.kind,
                       .bytes = segment_bytes});
    }
    return specs;
  }

  // Fills and seals as prefill does: in the store's own memory.
  void Write(uint64_t context) {
    const std::vector<SegmentSpec> specs = Specs(context);
    auto writer = store->BeginWrite(specs, absl::Seconds(60)).value();
    for (size_t i = 0; i < specs.size(); ++i) {
      const std::span<std::byte> memory = writer->Allocate(i).value();
      const size_t place =
          (context % num_contexts * kContextSegments + i) * segment_bytes;
      std::memcpy(memory.data(), source.data() + place, memory.size());
      SealSegment({.key = specs[i].key, .shape = shape}, memory);
      if (!writer->Seal(i).ok()) {
        std::abort();
      }
    }
    store->Release(writer->Commit().value().id).IgnoreError();
  }

  int64_t ContextBytes() const { return kContextSegments * segment_bytes; }

  const SegmentShape shape;
  const size_t segment_bytes;
  const size_t num_contexts;
  std::vector<std::byte> source;
  std::unique_ptr<LocalStore> store;
};

void Memcpy(benchmark::State& state) {
  const Bench bench(state.range(0));
  std::vector<std::byte> target(kWorkingSetBytes);
  std::memset(target.data(), 1, target.size());
  size_t place = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::memcpy(target.data() + place, bench.source.data() + place,
                bench.segment_bytes);
    benchmark::ClobberMemory();
    place += bench.segment_bytes;
    if (place + bench.segment_bytes > kWorkingSetBytes) {
      place = 0;
    }
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(bench.segment_bytes));
}

// Whole contexts into a store that is full: each write evicts an old one.
void Write(benchmark::State& state) {
  Bench bench(state.range(0));
  uint64_t context = 0;
  for (; context < bench.num_contexts; ++context) {
    bench.Write(context);
  }
  for ([[maybe_unused]] auto _ : state) {
    bench.Write(context++);
  }
  state.SetBytesProcessed(state.iterations() * bench.ContextBytes());
}

// Whole contexts under one lease each, read in place.
void Read(benchmark::State& state) {
  Bench bench(state.range(0), /*verify_on_read=*/state.range(1) != 0);
  for (uint64_t context = 0; context < bench.num_contexts; ++context) {
    bench.Write(context);
  }
  uint64_t context = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::vector<SegmentKey> keys;
    for (const SegmentSpec& spec : bench.Specs(context)) {
      keys.push_back(spec.key);
    }
    const LeaseHandle lease(
        *bench.store,
        bench.store->Acquire(keys, absl::Seconds(60)).value().lease.id);
    for (const SegmentKey& key : keys) {
      const ReadResult read = bench.store->Read(lease.id(), key).value();
      if (read.miss != MissReason::kNone) {
        state.SkipWithError("a miss");
        return;
      }
      benchmark::DoNotOptimize(read.view.bytes.data());
    }
    context = (context + 1) % bench.num_contexts;
  }
  state.SetBytesProcessed(state.iterations() * bench.ContextBytes());
}

// 20 heads of 16 KiB a segment: SmolLM2's retrieval blocks, 320 KiB; 128 heads:
// 2 MiB.  The iterations pass over 2 GiB.
BENCHMARK(Memcpy)->Arg(20)->Iterations(6400);
BENCHMARK(Memcpy)->Arg(128)->Iterations(1000);
BENCHMARK(Write)->Arg(20)->Iterations(200);
BENCHMARK(Write)->Arg(128)->Iterations(32);
BENCHMARK(Read)
    ->ArgNames({"heads", "verify"})
    ->ArgsProduct({{20}, {1, 0}})
    ->Iterations(200);
BENCHMARK(Read)
    ->ArgNames({"heads", "verify"})
    ->ArgsProduct({{128}, {1, 0}})
    ->Iterations(32);

}  // namespace
}  // namespace winnow
