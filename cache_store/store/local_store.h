#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/store/arena.h"
#include "cache_store/store/ghost_list.h"
#include "cache_store/store/kv_store.h"
#include "cache_store/store/lease_table.h"
#include "cache_store/store/segment_table.h"
#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"

namespace winnow {

struct LocalStoreOptions {
  size_t capacity_bytes = 0;  // a multiple of kArenaAlignment
  // What messages call it: the setting that it comes from.
  std::string capacity_name = "capacity_bytes";
  absl::Duration max_lease = absl::Minutes(10);
  size_t max_leases = 4096;                 // writes in flight included
  size_t max_segments = 1 << 20;            // reserved ones included
  size_t max_segments_per_write = 1 << 16;  // and per Acquire
  size_t ghost_entries = 1 << 16;
  // Checks the checksum on each Read.  Without it, bytes that rot in memory
  // after Seal are not noticed here; readers that copy check them anyway.
  bool verify_on_read = true;
  const Clock* clock = &Clock::Real();  // outlives the store
};

// The store of this process: segments in a host arena, read in place.
//
// Counts whole units of kArenaAlignment against the capacity.  A write has its
// extents from BeginWrite on, so nothing later can run out.  A segment that is
// pinned by a lease, a writer or a view is not evicted; the rest falls in LRU
// order.  Leases run out lazily, on the next call.
//
// One mutex; checksums and page returns happen outside it.  The store outlives
// its writers and views.
class LocalStore final : public KvStore {
 public:
  // InvalidArgument names the option that is out of range.
  static absl::StatusOr<std::unique_ptr<LocalStore>> Create(
      const LocalStoreOptions& options);
  ~LocalStore() override;

  absl::StatusOr<std::unique_ptr<ContextWriter>> BeginWrite(
      std::vector<SegmentSpec> segments, absl::Duration lease_ttl) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<ProbeResult> Probe(std::span<const SegmentKey> keys) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<AcquireResult> Acquire(std::span<const SegmentKey> keys,
                                        absl::Duration ttl) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<ReadResult> Read(LeaseId lease, const SegmentKey& key) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Lease> Renew(LeaseId lease, absl::Duration ttl) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Release(LeaseId lease) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<size_t> Remove(std::span<const SegmentKey> keys) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<SegmentSpec>> List(const SegmentKey& after,
                                                size_t limit) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<StoreStats> GetStats() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Writer;  // local_writer.h

  struct Counters {
    uint64_t written_bytes = 0;
    uint64_t read_bytes = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evictions = 0;
    uint64_t duplicate_writes = 0;
    uint64_t integrity_failures = 0;
  };

  LocalStore(const LocalStoreOptions& options, std::unique_ptr<Arena> arena);

  absl::Status CheckWrite(std::span<const SegmentSpec> segments,
                          absl::Duration ttl) const;
  // TooLargeForStore if even an empty store could not hold all of `segments`.
  absl::Status CheckFits(std::span<const SegmentSpec> segments) const;
  absl::Status CheckLease(std::span<const SegmentKey> keys,
                          absl::Duration ttl) const;
  absl::Status CheckTtl(absl::Duration ttl) const;

  // ResourceExhausted if a further lease would be over the limit.
  absl::Status CheckLeaseLimit() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A lease over segments that are pinned for it.
  Lease GrantLease(LeasedSegments segments, absl::Duration ttl)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ExpireLeases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Evicts until `count` segments of `bytes` altogether may be reserved; an
  // empty store would have room for them.
  // Evicts nothing if it can be seen that this will not do.
  absl::Status MakeRoom(size_t count, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An extent of `bytes` in one piece, evicting for it if need be.
  absl::StatusOr<Extent> AllocateEvicting(size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False if nothing can be evicted.
  bool EvictOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Touches segments in descending rank, those of one rank as they come.
  void TouchByRank(std::span<StoredSegment* const> segments)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  MissReason WhyMissing(const SegmentKey& key) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The segment of a key under a lease, pinned for a view, or a miss.
  MissReason PinForView(LeaseId lease, const SegmentKey& key,
                        StoredSegment*& segment) ABSL_LOCKS_EXCLUDED(mutex_);
  void EndView(StoredSegment& segment) ABSL_LOCKS_EXCLUDED(mutex_);
  // Hides a segment whose bytes failed their check, once.
  void MarkCorrupt(StoredSegment& segment) ABSL_LOCKS_EXCLUDED(mutex_);

  // Frees extents that nobody uses any more, large ones to the system too.
  // Not for evicted ones: they are about to be written again.
  void GiveBack(std::vector<Extent> extents) ABSL_LOCKS_EXCLUDED(mutex_);

  const LocalStoreOptions options_;
  const std::unique_ptr<const Arena> arena_;

  Mutex mutex_;
  ExtentMap extents_ ABSL_GUARDED_BY(mutex_);
  SegmentTable table_ ABSL_GUARDED_BY(mutex_);
  LeaseTable leases_ ABSL_GUARDED_BY(mutex_);
  GhostList ghosts_ ABSL_GUARDED_BY(mutex_);
  size_t writes_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t reserved_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t reserved_segments_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t views_ ABSL_GUARDED_BY(mutex_) = 0;
  Counters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace winnow
