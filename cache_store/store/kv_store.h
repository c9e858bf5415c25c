#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/lease.h"
#include "cache_store/format/miss_reason.h"
#include "cache_store/format/segment_key.h"

namespace winnow {

// Rank of a segment in its context: higher ones are touched first, so they are
// the first that eviction takes.  Anchors, tails and picked tokens serve one
// boundary only and rank above windows, windows above retrieval blocks, late
// blocks above early ones.  It depends on the block alone and not on the
// length of the context, so that contexts that share a prefix agree on it.
constexpr uint32_t EvictionRank(SegmentKind kind, uint32_t block) {
  constexpr uint32_t kBlocks = uint32_t{1} << 30;  // of each class, at most
  const uint32_t place = block < kBlocks ? block : kBlocks - 1;
  switch (kind) {
    case SegmentKind::kRetrieval:
      return place;
    case SegmentKind::kWindow:
      return kBlocks + place;
    case SegmentKind::kAnchor:
    case SegmentKind::kTail:
    case SegmentKind::kTokens:
      break;
  }
  return 2 * kBlocks + place;
}

// One segment to be written.
struct SegmentSpec {
  SegmentKey key;
  SegmentKind kind = SegmentKind::kRetrieval;
  // Order of touches within one commit or acquire: descending, so that rank 0
  // is touched last and survives longest; equal ranks are touched as they are
  // listed.  EvictionRank gives it.  The first commit of a key sets it.
  uint32_t rank = 0;
  size_t bytes = 0;  // header and payload
};

// Bytes of a segment, read in place or copied.  The bytes stay valid and
// unchanged as long as the view lives, whatever becomes of the lease.
struct SegmentView {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

struct ReadResult {
  MissReason miss = MissReason::kNone;
  SegmentView view;  // set on a hit
};

struct ProbeResult {
  std::vector<MissReason> segments;  // in the order of the keys
};

struct AcquireResult {
  Lease lease;                     // id 0 if any segment is missing
  std::vector<MissReason> misses;  // in the order of the keys
  bool complete() const { return lease.id != 0; }
};

struct StoreStats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;      // visible segments, and removed ones on lease
  uint64_t reserved_bytes = 0;  // promised to writes in flight
  uint64_t segments = 0;
  uint64_t leases = 0;  // live
  uint64_t writes_in_flight = 0;
  uint64_t written_bytes = 0;  // counters, since the start
  uint64_t read_bytes = 0;
  uint64_t hits = 0;    // keys that Acquire found
  uint64_t misses = 0;  // keys that Acquire did not find, and misses of Read
  uint64_t evictions = 0;
  uint64_t duplicate_writes = 0;    // segments of commits that were there
  uint64_t integrity_failures = 0;  // checks that failed, at Seal or at Read
};

// A write of one whole context, in flight.  Destruction without a successful
// Commit gives back everything: nothing stays reserved, nothing becomes
// visible.  Not thread-safe; deadlines are the caller's.
class ContextWriter {
 public:
  virtual ~ContextWriter() = default;

  // Memory for segment `index` of the specs, to be filled by the caller and
  // then sealed.  Empty if the store holds that segment already: nothing is to
  // be written then, and Seal must not be called.  Valid until Seal.
  // FailedPrecondition if the segment was allocated before.
  virtual absl::StatusOr<std::span<std::byte>> Allocate(size_t index) = 0;

  // Checks the header and checksum of a filled segment against its spec.
  // DataLoss, and the whole write fails, if they do not match.
  virtual absl::Status Seal(size_t index) = 0;

  // Makes all segments visible at once and returns a lease over all of them,
  // those that were there already included.  FailedPrecondition if a segment
  // is neither sealed nor present; of two writers of one key in flight the
  // first commit wins and the second counts as a touch.  Aborted if a segment
  // that was present at Allocate has been removed since.
  virtual absl::StatusOr<Lease> Commit() = 0;
};

// Cache of immutable segments: the storage seam.
//
// Implementations: the local store here, the remote store in services/common.
// Each passes tests/contract/kv_store*_contract_test.cc; the numbered claims
// are in cache_store/README.md.  Thread-safe.  A store outlives its writers,
// views and lease handles.
class KvStore {
 public:
  virtual ~KvStore() = default;

  // Starts a write: reserves the bytes of all segments that are not present,
  // evicting unleased ones if need be.
  //
  // ResourceExhausted if they, or a lease, cannot be had: says how many are
  // needed, free and leased, and to retry after a lease ends.  TooLargeForStore
  // (too_large.h) if an empty store could not hold them.  InvalidArgument for
  // an empty list or one over the limit, a key named twice, a size of 0 or over
  // the limit, a ttl that is not positive, or a key that is present with
  // another kind or size.
  virtual absl::StatusOr<std::unique_ptr<ContextWriter>> BeginWrite(
      std::vector<SegmentSpec> segments, absl::Duration lease_ttl) = 0;

  // Which of `keys` are present.  Renews and touches nothing.
  virtual absl::StatusOr<ProbeResult> Probe(
      std::span<const SegmentKey> keys) = 0;

  // Pins all of `keys` under one lease and touches them, or none.  The ttl
  // granted may be less than asked for.  ResourceExhausted if the store has
  // its maximum of leases.  InvalidArgument for an empty list or one over the
  // limit, a key named twice, or a ttl that is not positive.
  virtual absl::StatusOr<AcquireResult> Acquire(
      std::span<const SegmentKey> keys, absl::Duration ttl) = 0;

  // The bytes of `key` under `lease`, verified by their checksum after the
  // last copy, or a miss with its reason: kExpired if the lease has ended or is
  // none of this store's (the two cannot be told apart), kAbsent or kEvicted
  // if it does not cover the key, kCorrupt if the bytes fail their check; they
  // are removed then.  A segment that was removed is read to its lease's end.
  virtual absl::StatusOr<ReadResult> Read(LeaseId lease,
                                          const SegmentKey& key) = 0;

  // The same for each of `keys`, in their order.  A store that is far away
  // answers all of them at once; elsewhere this is a loop.
  virtual absl::StatusOr<std::vector<ReadResult>> ReadMany(
      LeaseId lease, std::span<const SegmentKey> keys) {
    std::vector<ReadResult> results;
    results.reserve(keys.size());
    for (const SegmentKey& key : keys) {
      absl::StatusOr<ReadResult> read = Read(lease, key);
      if (!read.ok()) {
        return std::move(read).status();
      }
      results.push_back(*std::move(read));
    }
    return results;
  }

  // Lets a lease end `ttl`, or less as granted, from now; touches nothing.
  // NotFound if it has ended.
  virtual absl::StatusOr<Lease> Renew(LeaseId lease, absl::Duration ttl) = 0;

  // Ends a lease.  NotFound if it has ended or never was.
  virtual absl::Status Release(LeaseId lease) = 0;

  // Hides segments at once; their memory is freed when the last lease or view
  // ends.  Absent keys are skipped.  Returns how many were hidden.
  virtual absl::StatusOr<size_t> Remove(std::span<const SegmentKey> keys) = 0;

  // Up to `limit` visible segments with keys after `after`, in key order.
  virtual absl::StatusOr<std::vector<SegmentSpec>> List(const SegmentKey& after,
                                                        size_t limit) = 0;

  virtual absl::StatusOr<StoreStats> GetStats() = 0;
};

// Releases a lease when it goes out of scope.  The store outlives it.
class LeaseHandle {
 public:
  LeaseHandle() = default;
  LeaseHandle(KvStore& store, LeaseId id) : store_(&store), id_(id) {}
  ~LeaseHandle() { Reset(); }

  LeaseHandle(LeaseHandle&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)), id_(other.id_) {}
  LeaseHandle& operator=(LeaseHandle&& other) noexcept {
    if (this != &other) {
      Reset();
      store_ = std::exchange(other.store_, nullptr);
      id_ = other.id_;
    }
    return *this;
  }

  LeaseId id() const { return store_ == nullptr ? 0 : id_; }
  // Gives the lease away: it is not released here any more.
  LeaseId Detach() {
    store_ = nullptr;
    return id_;
  }
  void Reset() {
    if (store_ != nullptr) {
      store_->Release(id_).IgnoreError();  // it may have run out by itself
      store_ = nullptr;
    }
  }

 private:
  KvStore* store_ = nullptr;
  LeaseId id_ = 0;
};

}  // namespace winnow
