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
// N is the context's length, M that of context and prompt; M = N without a
// prompt.  For the segments and their order see ExpectedSegments.
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

// The segments that a manifest of `plan` over `num_tokens` tokens M must name,
// in their order, with shape and sharing but no key.  Used by prefill to make
// them, and by ValidateManifest.  The order: A, W by block, R by block, T(b,
// N); then, private, T(N, M) if there is a prompt, and, if the prompt was so
// long that local heads folded more blocks, the anchor with the sums of [sinks,
// LoadedBegin).
//
// Anchors: first_token = sinks, end_token = the end of the folded range.
std::vector<ManifestSegment> ExpectedSegments(const Plan& plan,
                                              const KvTileShape& tile,
                                              int64_t num_tokens);

// First token that the local heads of a hand-over of M tokens hold besides
// their sinks: the plan's window_begin, or later after a long prompt.
int64_t LoadedBegin(const Plan& plan, int64_t num_tokens);

// Checks that a manifest is what its plan says it must be: lengths, positions,
// counts, shapes and order.  A manifest comes from outside: nothing of it is
// used before this passes.  InvalidArgument names the member.
absl::Status ValidateManifest(const Manifest& manifest);

}  // namespace winnow
