#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/lease.h"
#include "cache_store/store/arena.h"
#include "cache_store/store/kv_store.h"
#include "cache_store/store/local_store.h"

namespace winnow {

// A write into a local store: the caller fills the store's own memory.
//
// Until Commit or destruction each segment holds either an extent of its own
// or a pin on the visible segment of its key.  Not thread-safe; the store's
// mutex guards what is the store's.
class LocalStore::Writer final : public ContextWriter {
 public:
  // Reserves nothing yet.
  Writer(LocalStore& store, std::vector<SegmentSpec> specs,
         absl::Duration lease_ttl);
  ~Writer() override;

  // Takes a lease's place, pins the segments that are there and allocates the
  // others.  What a failed call has taken is given back on destruction.
  absl::Status Reserve() ABSL_LOCKS_EXCLUDED(store_.mutex_);

  absl::StatusOr<std::span<std::byte>> Allocate(size_t index) override
      ABSL_LOCKS_EXCLUDED(store_.mutex_);
  absl::Status Seal(size_t index) override ABSL_LOCKS_EXCLUDED(store_.mutex_);
  absl::StatusOr<Lease> Commit() override ABSL_LOCKS_EXCLUDED(store_.mutex_);

 private:
  enum class SlotState : uint8_t {
    kEmpty,      // holds nothing
    kPresent,    // pins the visible segment
    kReserved,   // has an extent
    kAllocated,  // the caller fills it
    kSealed,     // filled and verified
  };
  struct Slot {
    SlotState state = SlotState::kEmpty;
    Extent extent;                     // kReserved and later
    StoredSegment* segment = nullptr;  // kPresent
  };

  absl::Status CheckOpen(size_t index) const;
  absl::Status PinPresent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);
  absl::Status AllocateMissing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);
  // Turns a slot with an extent into a pin on `segment`; returns the extent.
  Extent YieldTo(StoredSegment& segment, Slot& slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);
  // Aborted if a segment that was present is no longer.
  absl::Status CheckPresent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);
  Lease Publish(std::vector<Extent>& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);
  // Ends the reservation of the extent of one slot.
  void Unreserve(const Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_.mutex_);

  LocalStore& store_;
  const std::vector<SegmentSpec> specs_;
  const absl::Duration lease_ttl_;
  std::vector<Slot> slots_;  // one per spec
  bool in_flight_ = false;   // counted in the store's writes in flight
  bool ended_ = false;       // committed or failed: nothing more may be asked
};

}  // namespace winnow
