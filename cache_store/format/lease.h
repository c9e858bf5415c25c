#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace winnow {

// Names a lease.  Random, so that it cannot be guessed; 0 is no lease.
using LeaseId = uint64_t;

struct Lease {
  LeaseId id = 0;
  absl::Duration ttl;  // granted; counted from the grant
};

}  // namespace winnow
