#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "cache_store/plan/policy.h"
#include "gpu/model/sampler.h"
#include "services/common/call.h"

namespace winnow {

struct PrefillRequest {
  std::vector<int32_t> ids;  // context and prompt
  int64_t compact_at = 0;    // tokens of the context, 1 to ids.size(); the rest
                             // runs over the kept cache
  Policy policy;
  SamplingParameters sampling;
  std::optional<int32_t> forced_first;  // taken as first token, for scoring
};

// Time spent in the stages of one prefill.
struct PrefillTimes {
  absl::Duration queue;    // until the prefill began
  absl::Duration reuse;    // look-up and loading of what the store has
  absl::Duration context;  // forward passes up to compact_at
  absl::Duration compact;
  absl::Duration write;   // segments into the store
  absl::Duration prompt;  // forward passes after compact_at
  absl::Duration total;   // all of it, until the manifest is there
};

struct PrefillResult {
  Manifest manifest;  // holds the lease of the write
  TokenChoice first;  // the token at manifest.next_position, not in the cache
  int64_t reused_tokens = 0;  // of the context, found in the store
  PrefillTimes times;
};

// Who turns tokens into a cache: the pipeline of this process, or a prefill
// service.  Thread-safe.
class Prefiller {
 public:
  virtual ~Prefiller() = default;

  // Builds the cache of a context, compacts it, writes it into the store, and
  // samples the first token.
  //
  // Errors:
  //   INVALID_ARGUMENT     empty, an id out of the vocabulary, compact_at or a
  //                        sampling parameter out of range.
  //   OUT_OF_RANGE         more tokens than the limit; says both numbers.
  //   FAILED_PRECONDITION  the policy needs a head profile and there is none.
  //   RESOURCE_EXHAUSTED   the store or the queue has no room; known before
  //                        any compute.
  //   UNAVAILABLE          the store or the service does not answer.
  //   CANCELLED, DEADLINE_EXCEEDED  as the call says.
  // On an error nothing is left behind in the store.
  virtual absl::StatusOr<PrefillResult> Run(const PrefillRequest& request,
                                            const Call& call) = 0;
};

}  // namespace winnow
