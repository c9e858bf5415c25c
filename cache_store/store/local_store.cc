#include "cache_store/store/local_store.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <string>
#include <utility>

#include "cache_store/format/segment.h"
#include "cache_store/store/local_writer.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

// Free ranges from this size on go back to the system.
constexpr size_t kDiscardBytes = 1 << 20;

// Joins extents that touch each other.
std::vector<Extent> Joined(std::vector<Extent> extents) {
  std::ranges::sort(extents, {}, &Extent::offset);
  std::vector<Extent> joined;
  for (const Extent& extent : extents) {
    if (!joined.empty() &&
        joined.back().offset + joined.back().bytes == extent.offset) {
      joined.back().bytes += extent.bytes;
    } else {
      joined.push_back(extent);
    }
  }
  return joined;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalStore>> LocalStore::Create(
    const LocalStoreOptions& options) {
  if (options.max_lease <= absl::ZeroDuration() || options.max_leases == 0 ||
      options.max_segments == 0 || options.max_segments_per_write == 0) {
    return absl::InvalidArgumentError(
        "max_lease, max_leases, max_segments and max_segments_per_write must "
        "be positive");
  }
  assert(options.clock != nullptr);
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<Arena> arena,
                          Arena::Create(options.capacity_bytes));
  return std::unique_ptr<LocalStore>(new LocalStore(options, std::move(arena)));
}

LocalStore::LocalStore(const LocalStoreOptions& options,
                       std::unique_ptr<Arena> arena)
    : options_(options),
      arena_(std::move(arena)),
      extents_(options.capacity_bytes),
      ghosts_(options.ghost_entries) {}

LocalStore::~LocalStore() {
  MutexLock lock(mutex_);
  assert(writes_in_flight_ == 0 && "a writer outlives its store");
  assert(views_ == 0 && "a view outlives its store");
}

absl::StatusOr<std::unique_ptr<ContextWriter>> LocalStore::BeginWrite(
    std::vector<SegmentSpec> segments, absl::Duration lease_ttl) {
  WINNOW_RETURN_IF_ERROR(CheckWrite(segments, lease_ttl));
  WINNOW_RETURN_IF_ERROR(CheckFits(segments));
  auto writer = std::make_unique<Writer>(*this, std::move(segments), lease_ttl);
  WINNOW_RETURN_IF_ERROR(writer->Reserve());
  return writer;
}

absl::StatusOr<ProbeResult> LocalStore::Probe(
    std::span<const SegmentKey> keys) {
  ProbeResult result;
  result.segments.reserve(keys.size());
  MutexLock lock(mutex_);
  for (const SegmentKey& key : keys) {
    result.segments.push_back(table_.Find(key) != nullptr ? MissReason::kNone
                                                          : WhyMissing(key));
  }
  return result;
}

absl::StatusOr<AcquireResult> LocalStore::Acquire(
    std::span<const SegmentKey> keys, absl::Duration ttl) {
  WINNOW_RETURN_IF_ERROR(CheckLease(keys, ttl));
  AcquireResult result;
  std::vector<StoredSegment*> found;
  found.reserve(keys.size());
  MutexLock lock(mutex_);
  ExpireLeases();
  for (const SegmentKey& key : keys) {
    StoredSegment* const segment = table_.Find(key);
    result.misses.push_back(segment != nullptr ? MissReason::kNone
                                               : WhyMissing(key));
    if (segment != nullptr) {
      found.push_back(segment);
    }
  }
  if (found.size() == keys.size()) {
    WINNOW_RETURN_IF_ERROR(CheckLeaseLimit());
    LeasedSegments leased;
    for (StoredSegment* segment : found) {
      table_.Pin(*segment);
      leased.emplace(segment->spec.key, segment);
    }
    TouchByRank(found);
    result.lease = GrantLease(std::move(leased), ttl);
  }
  counters_.hits += found.size();
  counters_.misses += keys.size() - found.size();
  return result;
}

absl::StatusOr<ReadResult> LocalStore::Read(LeaseId lease,
                                            const SegmentKey& key) {
  StoredSegment* segment = nullptr;
  const MissReason miss = PinForView(lease, key, segment);
  if (miss != MissReason::kNone) {
    return ReadResult{.miss = miss, .view = {}};
  }
  const std::span<const std::byte> bytes =
      arena_->Memory(segment->extent, segment->spec.bytes);
  // Shared, because a reader may hand parts of one view to several consumers;
  // the last of them ends the pin.
  std::shared_ptr<const void> owner(
      bytes.data(), [this, segment](const void*) { EndView(*segment); });
  if (options_.verify_on_read &&
      VerifySegment(key, segment->spec.kind, bytes) != MissReason::kNone) {
    MarkCorrupt(*segment);
    return ReadResult{.miss = MissReason::kCorrupt, .view = {}};
  }
  MutexLock lock(mutex_);
  counters_.read_bytes += bytes.size();
  return ReadResult{.miss = MissReason::kNone,
                    .view = {.bytes = bytes, .owner = std::move(owner)}};
}

absl::StatusOr<Lease> LocalStore::Renew(LeaseId lease, absl::Duration ttl) {
  WINNOW_RETURN_IF_ERROR(CheckTtl(ttl));
  const absl::Duration granted = std::min(ttl, options_.max_lease);
  MutexLock lock(mutex_);
  ExpireLeases();
  if (!leases_.Extend(lease, options_.clock->Monotonic() + granted)) {
    return absl::NotFoundError("the lease has ended; acquire a new one");
  }
  return Lease{.id = lease, .ttl = granted};
}

absl::Status LocalStore::Release(LeaseId lease) {
  std::vector<Extent> freed;
  {
    MutexLock lock(mutex_);
    ExpireLeases();
    const std::optional<LeasedSegments> ended = leases_.End(lease);
    if (!ended.has_value()) {
      return absl::NotFoundError("the lease has ended or never was");
    }
    for (const auto& [key, segment] : *ended) {
      if (const auto extent = table_.Unpin(*segment)) {
        freed.push_back(*extent);
      }
    }
  }
  GiveBack(std::move(freed));
  return absl::OkStatus();
}

absl::StatusOr<size_t> LocalStore::Remove(std::span<const SegmentKey> keys) {
  size_t hidden = 0;
  std::vector<Extent> freed;
  {
    MutexLock lock(mutex_);
    ExpireLeases();
    for (const SegmentKey& key : keys) {
      StoredSegment* const segment = table_.Find(key);
      if (segment == nullptr) {
        continue;
      }
      ++hidden;
      if (const auto extent = table_.Hide(*segment)) {
        freed.push_back(*extent);
      }
    }
  }
  GiveBack(std::move(freed));
  return hidden;
}

absl::StatusOr<std::vector<SegmentSpec>> LocalStore::List(
    const SegmentKey& after, size_t limit) {
  MutexLock lock(mutex_);
  return table_.List(after, limit);
}

absl::StatusOr<StoreStats> LocalStore::GetStats() {
  MutexLock lock(mutex_);
  ExpireLeases();
  return StoreStats{
      .capacity_bytes = options_.capacity_bytes,
      .used_bytes = table_.used_bytes(),
      .reserved_bytes = reserved_bytes_,
      .segments = table_.num_visible(),
      .leases = leases_.size(),
      .writes_in_flight = writes_in_flight_,
      .written_bytes = counters_.written_bytes,
      .read_bytes = counters_.read_bytes,
      .hits = counters_.hits,
      .misses = counters_.misses,
      .evictions = counters_.evictions,
      .duplicate_writes = counters_.duplicate_writes,
      .integrity_failures = counters_.integrity_failures,
  };
}

Lease LocalStore::GrantLease(LeasedSegments segments, absl::Duration ttl) {
  const absl::Duration granted = std::min(ttl, options_.max_lease);
  const LeaseId id =
      leases_.Grant(std::move(segments), options_.clock->Monotonic() + granted);
  return {.id = id, .ttl = granted};
}

void LocalStore::ExpireLeases() {
  const absl::Duration now = options_.clock->Monotonic();
  while (const auto expired = leases_.ExpireOne(now)) {
    for (const auto& [key, segment] : *expired) {
      if (const auto extent = table_.Unpin(*segment)) {
        extents_.Free(*extent);
      }
    }
  }
}

void LocalStore::TouchByRank(std::span<StoredSegment* const> segments) {
  std::vector<StoredSegment*> order(segments.begin(), segments.end());
  std::ranges::stable_sort(
      order, std::ranges::greater{},
      [](const StoredSegment* segment) { return segment->spec.rank; });
  for (StoredSegment* segment : order) {
    table_.Touch(*segment);
  }
}

MissReason LocalStore::WhyMissing(const SegmentKey& key) const {
  return ghosts_.Contains(key) ? MissReason::kEvicted : MissReason::kAbsent;
}

MissReason LocalStore::PinForView(LeaseId lease, const SegmentKey& key,
                                  StoredSegment*& segment) {
  MutexLock lock(mutex_);
  ExpireLeases();
  MissReason miss = MissReason::kNone;
  const LeasedSegments* const leased = leases_.Find(lease);
  if (leased == nullptr) {
    miss = MissReason::kExpired;
  } else if (const auto entry = leased->find(key); entry == leased->end()) {
    miss = WhyMissing(key);
  } else if (entry->second->corrupt) {
    miss = MissReason::kCorrupt;
  } else {
    segment = entry->second;
    table_.Pin(*segment);
    ++views_;
    return MissReason::kNone;
  }
  ++counters_.misses;
  return miss;
}

void LocalStore::EndView(StoredSegment& segment) {
  std::vector<Extent> freed;
  {
    MutexLock lock(mutex_);
    --views_;
    if (const auto extent = table_.Unpin(segment)) {
      freed.push_back(*extent);
    }
  }
  GiveBack(std::move(freed));
}

void LocalStore::MarkCorrupt(StoredSegment& segment) {
  MutexLock lock(mutex_);
  ++counters_.misses;
  if (segment.corrupt) {
    return;  // two readers found it at the same time
  }
  segment.corrupt = true;
  ++counters_.integrity_failures;
  if (segment.visible) {
    table_.Hide(segment);  // the reader's pin keeps the memory for now
  }
}

void LocalStore::GiveBack(std::vector<Extent> extents) {
  const std::vector<Extent> joined = Joined(std::move(extents));
  if (joined.empty()) {
    return;
  }
  for (const Extent& extent : joined) {
    if (extent.bytes >= kDiscardBytes) {
      arena_->Discard(extent);
    }
  }
  MutexLock lock(mutex_);
  for (const Extent& extent : joined) {
    extents_.Free(extent);
  }
}

}  // namespace winnow
