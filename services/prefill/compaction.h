#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"

#include "cache_store/format/segment.h"
#include "cache_store/plan/plan.h"
#include "gpu/model/kv_sequence.h"
#include "services/common/compute_gate.h"

namespace winnow {

// Compacts the local heads of a sequence that holds exactly the plan's context:
// folds what the plan drops into sums, layer by layer, and sets the rule by
// which they fold from here on.  Takes a turn at the backend for each layer.
absl::Status Compact(const SharedBackend& compute, const Plan& plan,
                     KvSequence& sequence);

// Writes the payload of one segment of the plan from a compacted sequence into
// `payload`, shape.PayloadBytes() long and 64-byte aligned: whole tiles, bit
// for bit; slots without a token are zero.  Takes a turn at the backend.
absl::Status PackSegment(const SharedBackend& compute,
                         const KvSequence& sequence, const Plan& plan,
                         const SegmentShape& shape,
                         std::span<std::byte> payload);

}  // namespace winnow
