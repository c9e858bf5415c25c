#include "services/bench/bench_store.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

#include "cache_store/format/block_chain.h"
#include "cache_store/store/arena.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/clock.h"
#include "gpu/base/status.h"
#include "services/bench/bench_machine.h"
#include "services/common/stage_timer.h"

namespace winnow {
namespace {

constexpr size_t kMostContextSegments = 64;  // 4,096 tokens
constexpr size_t kLeastContexts = 4;  // or a write evicts what it has written
constexpr absl::Duration kLease = absl::Minutes(1);

// Contexts of equal segments, as many as the store holds.
class Contexts {
 public:
  Contexts(KvStore& store, const SegmentShape& shape, size_t segments_each,
           size_t count)
      : store_(store), shape_(shape), keys_(count) {
    for (auto& keys : keys_) {
      keys.resize(segments_each);
    }
  }

  size_t segments_each() const { return keys_.front().size(); }
  uint64_t bytes() const {
    return keys_.size() * keys_.front().size() * shape_.SegmentBytes();
  }

  // Under keys that the store has not seen.
  absl::Status WriteAll(std::span<const std::byte> source) {
    for (auto& keys : keys_) {
      std::ranges::generate(keys, RandomSegmentKey);
      WINNOW_RETURN_IF_ERROR(Write(keys, source));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAll() const {
    for (const auto& keys : keys_) {
      WINNOW_RETURN_IF_ERROR(Read(keys));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Write(const std::vector<SegmentKey>& keys,
                     std::span<const std::byte> source) {
    std::vector<SegmentSpec> specs;
    specs.reserve(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      specs.push_back(
          {.key = keys[i],
           .kind = shape_.kind,
           .rank = EvictionRank(shape_.kind, static_cast<uint32_t>(i)),
           .bytes = shape_.SegmentBytes()});
    }
    WINNOW_ASSIGN_OR_RETURN(const auto writer,
                            store_.BeginWrite(specs, kLease));
    for (size_t i = 0; i < keys.size(); ++i) {
      WINNOW_ASSIGN_OR_RETURN(const std::span<std::byte> segment,
                              writer->Allocate(i));
      Fill(segment.subspan(kSegmentHeaderBytes), source);
      SealSegment({.key = keys[i], .shape = shape_}, segment);
      WINNOW_RETURN_IF_ERROR(writer->Seal(i));
    }
    WINNOW_ASSIGN_OR_RETURN(const Lease lease, writer->Commit());
    return store_.Release(lease.id);
  }

  // Takes the source piece after piece, from its start again at its end.
  void Fill(std::span<std::byte> payload, std::span<const std::byte> source) {
    while (!payload.empty()) {
      const size_t count = std::min(payload.size(), source.size() - next_);
      std::memcpy(payload.data(), source.data() + next_, count);
      payload = payload.subspan(count);
      next_ = (next_ + count) % source.size();
    }
  }

  absl::Status Read(const std::vector<SegmentKey>& keys) const {
    WINNOW_ASSIGN_OR_RETURN(const AcquireResult acquired,
                            store_.Acquire(keys, kLease));
    const LeaseHandle lease(store_, acquired.lease.id);
    for (const SegmentKey& key : keys) {
      WINNOW_ASSIGN_OR_RETURN(const ReadResult read,
                              store_.Read(lease.id(), key));
      if (read.miss != MissReason::kNone) {
        return absl::InternalError(
            absl::StrCat("a segment that the benchmark wrote is a miss: ",
                         Absl(MissReasonName(read.miss))));
      }
    }
    return absl::OkStatus();
  }

  KvStore& store_;
  const SegmentShape shape_;
  std::vector<std::vector<SegmentKey>> keys_;
  size_t next_ = 0;  // in the source
};

absl::StatusOr<Contexts> PlanContexts(KvStore& store,
                                      const SegmentShape& shape) {
  WINNOW_ASSIGN_OR_RETURN(const StoreStats stats, store.GetStats());
  const size_t room = stats.capacity_bytes / ArenaBytes(shape.SegmentBytes());
  if (room < kLeastContexts) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the store has room for ", room, " segments of ",
                     shape.SegmentBytes(), " bytes; the benchmark needs ",
                     kLeastContexts, "; give a larger --store-size"));
  }
  const size_t each = std::min(kMostContextSegments, room / kLeastContexts);
  return Contexts(store, shape, each, room / each);
}

template <typename Body>
absl::StatusOr<double> Rate(uint64_t bytes, const Body& body) {
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    WINNOW_RETURN_IF_ERROR(body());
  }
  return static_cast<double>(bytes) /
         std::max(absl::ToDoubleSeconds(time), 1e-9);
}

}  // namespace

SegmentShape FullBlockShape(const ModelConfig& config, KvDtype dtype) {
  return {.kind = SegmentKind::kRetrieval,
          .tile = {.head_dim = config.head_dim, .dtype = dtype},
          .num_layers = static_cast<uint32_t>(config.num_layers),
          .num_heads =
              static_cast<uint32_t>(config.num_layers * config.num_kv_heads),
          .num_blocks = 1,
          .end_token = kBlockTokens};
}

absl::StatusOr<StoreFigures> BenchStore(KvStore& store, RoofMeter& roofs,
                                        const StoreBenchOptions& options) {
  WINNOW_RETURN_IF_ERROR(EmptyStore(store));
  WINNOW_ASSIGN_OR_RETURN(Contexts contexts,
                          PlanContexts(store, options.shape));
  // The first write takes new pages from the system; it does not count.
  WINNOW_RETURN_IF_ERROR(contexts.WriteAll(roofs.memory()));
  std::vector<double> writes;
  std::vector<double> reads;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WaitUntilQuiet(kQuietCores, options.wait_quiet);
    WINNOW_RETURN_IF_ERROR(roofs.Sample());
    WINNOW_ASSIGN_OR_RETURN(const double write, Rate(contexts.bytes(), [&] {
                              return contexts.WriteAll(roofs.memory());
                            }));
    WINNOW_ASSIGN_OR_RETURN(const double read, Rate(contexts.bytes(), [&] {
                              return contexts.ReadAll();
                            }));
    writes.push_back(write);
    reads.push_back(read);
  }
  WINNOW_RETURN_IF_ERROR(EmptyStore(store));
  return StoreFigures{.segment_bytes = options.shape.SegmentBytes(),
                      .context_segments = contexts.segments_each(),
                      .working_set_bytes = contexts.bytes(),
                      .write_bytes_per_s = SpreadOf(writes),
                      .verified_read_bytes_per_s = SpreadOf(reads)};
}

absl::Status EmptyStore(KvStore& store) {
  constexpr size_t kSegmentsAtATime = 4096;
  for (;;) {
    WINNOW_ASSIGN_OR_RETURN(const std::vector<SegmentSpec> segments,
                            store.List(SegmentKey{}, kSegmentsAtATime));
    if (segments.empty()) {
      return absl::OkStatus();
    }
    std::vector<SegmentKey> keys;
    keys.reserve(segments.size());
    for (const SegmentSpec& segment : segments) {
      keys.push_back(segment.key);
    }
    WINNOW_RETURN_IF_ERROR(store.Remove(keys).status());
  }
}

}  // namespace winnow
