#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"

#include "cache_store/format/miss_reason.h"

namespace winnow {

// ABORTED: the store no longer gives `what` ("segment W(3)").  Says why and to
// prefill again; the reason also travels as a payload of the status, for
// metrics.
absl::Status MissStatus(MissReason reason, std::string_view what);

// The reason of such a status; kNone where there is none.
MissReason MissOf(const absl::Status& status);

// The first of the reasons that is a miss; kNone where all are hits.
MissReason FirstMiss(std::span<const MissReason> reasons);

}  // namespace winnow
