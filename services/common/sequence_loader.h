#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "cache_store/format/manifest.h"
#include "cache_store/store/kv_store.h"
#include "gpu/model/kv_sequence.h"
#include "gpu/model/model_config.h"
#include "services/common/compute_gate.h"

namespace winnow {

// A context ready to be continued: its rows point into the store's segments,
// which the views keep alive.
struct LoadedSequence {
  std::vector<SegmentView> views;  // outlive the sequence
  std::unique_ptr<KvSequence> sequence;
  uint64_t pulled_bytes = 0;  // of the segments that were acquired
};

// Loads what `manifest`, which is valid, names: whole blocks in place, anchors
// and partial blocks copied.  Room for `max_tokens` tokens in all.  Takes a
// turn at the backend for the copies, not while it reads from the store.
//
// Errors:
//   ABORTED  the store no longer returns a segment; names the reason.  The
//            context must be prefilled again.
absl::StatusOr<LoadedSequence> LoadSequence(const SharedBackend& compute,
                                            const ModelConfig& config,
                                            const Manifest& manifest,
                                            KvStore& store, LeaseId lease,
                                            int64_t max_tokens);

}  // namespace winnow
