#include "cache_store/store/lease_table.h"

#include <cstdlib>
#include <utility>

#include <unistd.h>

namespace winnow {
namespace {

LeaseId RandomLeaseId() {
  LeaseId id = 0;
  // The kernel's generator cannot fail for so few bytes once the system is up;
  // ids that can be guessed are no ids.
  if (getentropy(&id, sizeof(id)) != 0) {
    std::abort();
  }
  return id;
}

}  // namespace

LeaseId LeaseTable::Grant(LeasedSegments segments, absl::Duration deadline) {
  LeaseId id = RandomLeaseId();
  while (id == 0 || leases_.contains(id)) {
    id = RandomLeaseId();
  }
  leases_.emplace(id,
                  Entry{.segments = std::move(segments), .deadline = deadline});
  by_deadline_.emplace(deadline, id);
  return id;
}

const LeasedSegments* LeaseTable::Find(LeaseId id) const {
  const auto lease = leases_.find(id);
  return lease == leases_.end() ? nullptr : &lease->second.segments;
}

bool LeaseTable::Extend(LeaseId id, absl::Duration deadline) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) {
    return false;
  }
  by_deadline_.erase({lease->second.deadline, id});
  lease->second.deadline = deadline;
  by_deadline_.emplace(deadline, id);
  return true;
}

std::optional<LeasedSegments> LeaseTable::End(LeaseId id) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) {
    return std::nullopt;
  }
  by_deadline_.erase({lease->second.deadline, id});
  LeasedSegments segments = std::move(lease->second.segments);
  leases_.erase(lease);
  return segments;
}

std::optional<LeasedSegments> LeaseTable::ExpireOne(absl::Duration now) {
  if (by_deadline_.empty() || by_deadline_.begin()->first > now) {
    return std::nullopt;
  }
  return End(by_deadline_.begin()->second);
}

}  // namespace winnow
