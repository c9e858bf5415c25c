#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "cache_store/format/miss_reason.h"
#include "cache_store/store/kv_store.h"
#include "gpu/model/model_config.h"
#include "services/common/sequence_loader.h"

namespace winnow {

// A start of a context that the store still has, loaded.
struct ReusedPrefix {
  LeaseHandle lease;  // outlives the views
  LoadedSequence loaded;
  int64_t num_tokens = 0;  // 0: there is none
  // Why one that the store said to have could not be had.
  MissReason miss = MissReason::kNone;
};

// What of the context of `manifest` need not be computed again, if anything:
//
// - with local heads, the whole context or nothing, and only if a prompt
//   follows: a compacted cache is no start for full attention;
// - without, whole blocks from the start, as in an ordinary prefix cache, but
//   never the last token of all, whose logits are wanted.
//
// A segment that is lost on the way, or fails its check, is no error but a
// miss: the context is computed then.  Errors of the store's transport are
// returned.
absl::StatusOr<ReusedPrefix> ReusePrefix(const SharedBackend& compute,
                                         const ModelConfig& config,
                                         const Manifest& manifest,
                                         std::span<const int32_t> context,
                                         KvStore& store, absl::Duration ttl);

}  // namespace winnow
