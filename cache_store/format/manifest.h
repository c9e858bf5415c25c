#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "cache_store/format/block_chain.h"
#include "cache_store/format/lease.h"
#include "cache_store/format/segment.h"
#include "cache_store/plan/plan.h"

namespace winnow {

// A segment that a manifest names.
struct ManifestSegment {
  SegmentKey key;
  SegmentShape shape;
  bool shared = true;  // false: private to this hand-over, a random key
};

// All that decode needs to load a context: plan, lengths, positions, segments,
// digests, and the lease of the write.  With the bytes of a store it is the
// only thing that prefill and decode share.
//
// Order of the segments: A, then W in block order, then R in block order, then
// T.  A context's tail [b, N) and the private tail of a prompt [N, M) are two
// T segments; M = N without a prompt.
struct Manifest {
  CacheIdentity identity;
  Plan plan;                  // of the context: N = plan.num_tokens
  int64_t num_tokens = 0;     // M: logical length, context and prompt
  int64_t next_position = 0;  // position of the next token; M unless said
                              // otherwise
  std::vector<ManifestSegment> segments;
  std::vector<int32_t> recent_ids;  // the last tokens, for the repetition
                                    // penalty; all of them at most
  Lease lease;

  // Sum of the segments, headers included.
  uint64_t StoredBytes() const;
};

// Checks that a manifest is what its plan says it must be: lengths, positions,
// counts, shapes and order.  A manifest comes from outside: nothing of it is
// used before this passes.  InvalidArgument names the member.
absl::Status ValidateManifest(const Manifest& manifest);

}  // namespace winnow
