#include "services/bench/bench_context.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "cache_store/format/block_chain.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

constexpr absl::Duration kLease = absl::Minutes(2);
constexpr uint32_t kHeadDim = 64;
constexpr uint32_t kLayers = 30;
constexpr uint32_t kRetrievalHeads = 28;
constexpr size_t kSmallEvery = 17;

SegmentShape ShapeAt(size_t index) {
  const bool small = index % kSmallEvery == kSmallEvery - 1;
  return {.kind = SegmentKind::kRetrieval,
          .tile = {.head_dim = kHeadDim, .dtype = KvDtype::kBfloat16},
          .num_layers = kLayers,
          .num_heads = small ? 1 : kRetrievalHeads,
          .num_blocks = 1,
          .end_token = kBlockTokens};
}

}  // namespace

BenchContext::BenchContext(size_t bytes) {
  do {
    shapes_.push_back(ShapeAt(shapes_.size()));
    bytes_ += shapes_.back().SegmentBytes();
  } while (bytes_ + ShapeAt(shapes_.size()).SegmentBytes() <= bytes);
  keys_.resize(shapes_.size());
}

absl::Status BenchContext::Write(KvStore& store,
                                 std::span<const std::byte> source) {
  std::ranges::generate(keys_, RandomSegmentKey);
  std::vector<SegmentSpec> specs;
  specs.reserve(keys_.size());
  for (size_t i = 0; i < keys_.size(); ++i) {
    specs.push_back(
        {.key = keys_[i],
         .kind = shapes_[i].kind,
         .rank = EvictionRank(shapes_[i].kind, static_cast<uint32_t>(i)),
         .bytes = shapes_[i].SegmentBytes()});
  }
  WINNOW_ASSIGN_OR_RETURN(const auto writer, store.BeginWrite(specs, kLease));
  for (size_t i = 0; i < keys_.size(); ++i) {
    WINNOW_ASSIGN_OR_RETURN(const std::span<std::byte> segment,
                            writer->Allocate(i));
    const auto payload = segment.subspan(kSegmentHeaderBytes);
    std::memcpy(payload.data(), source.data(), payload.size());
    source = source.subspan(payload.size());
    SealSegment({.key = keys_[i], .shape = shapes_[i]}, segment);
    WINNOW_RETURN_IF_ERROR(writer->Seal(i));
  }
  WINNOW_ASSIGN_OR_RETURN(const Lease lease, writer->Commit());
  return store.Release(lease.id);
}

absl::StatusOr<std::vector<ReadResult>> BenchContext::Read(
    KvStore& store) const {
  WINNOW_ASSIGN_OR_RETURN(const AcquireResult acquired,
                          store.Acquire(keys_, kLease));
  if (!acquired.complete()) {
    return absl::DataLossError(
        "the store does not have what the benchmark wrote; see its log");
  }
  const LeaseHandle lease(store, acquired.lease.id);
  WINNOW_ASSIGN_OR_RETURN(std::vector<ReadResult> results,
                          store.ReadMany(lease.id(), keys_));
  for (const ReadResult& result : results) {
    if (result.miss != MissReason::kNone) {
      return absl::DataLossError(
          absl::StrCat("a segment that the benchmark wrote is a miss: ",
                       Absl(MissReasonName(result.miss))));
    }
  }
  return results;
}

absl::Status BenchContext::Pull(KvStore& store) const {
  return Read(store).status();
}

absl::Status BenchContext::PullAndCompare(
    KvStore& store, std::span<const std::byte> source) const {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<ReadResult> results, Read(store));
  for (const ReadResult& result : results) {
    const auto payload = result.view.bytes.subspan(kSegmentHeaderBytes);
    if (!std::ranges::equal(payload, source.first(payload.size()))) {
      return absl::DataLossError(
          "a segment came back with other bytes than were written, and passed "
          "its check; report this as a bug");
    }
    source = source.subspan(payload.size());
  }
  return absl::OkStatus();
}

absl::Status BenchContext::Remove(KvStore& store) const {
  return store.Remove(keys_).status();
}

}  // namespace winnow
