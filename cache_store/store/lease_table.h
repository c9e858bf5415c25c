#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

#include "cache_store/format/lease.h"
#include "cache_store/format/segment_key.h"

namespace winnow {

struct StoredSegment;

// The segments of a lease, by key.
using LeasedSegments = absl::flat_hash_map<SegmentKey, StoredSegment*>;

// Which segments each live lease covers and until when, on a monotonic clock
// that the caller reads.  A lease whose time has come lives until Expire takes
// it out: callers expire before they look.  There is no timer thread.
//
// Knows nothing of pins: whoever grants a lease has pinned its segments, and
// whoever takes one out unpins them.  Not thread-safe.
class LeaseTable {
 public:
  // Grants a lease with a random id.
  LeaseId Grant(LeasedSegments segments, absl::Duration deadline);

  // The segments of a lease; null if there is no such lease.
  const LeasedSegments* Find(LeaseId id) const;

  // Moves the deadline of a lease.  False if there is no such lease.
  bool Extend(LeaseId id, absl::Duration deadline);

  // Ends a lease and returns its segments; nothing if there is no such lease.
  std::optional<LeasedSegments> End(LeaseId id);

  // Ends one of the leases with a deadline at or before `now`; nothing if
  // there is none.
  std::optional<LeasedSegments> ExpireOne(absl::Duration now);

  size_t size() const { return leases_.size(); }

 private:
  struct Entry {
    LeasedSegments segments;
    absl::Duration deadline;
  };

  absl::flat_hash_map<LeaseId, Entry> leases_;
  std::set<std::pair<absl::Duration, LeaseId>> by_deadline_;
};

}  // namespace winnow
