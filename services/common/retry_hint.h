#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace winnow {

// When a refused request may be tried again: travels as a payload of its
// status, and between services as trailing metadata.

// Adds the hint to a status that is not OK, rounded up to milliseconds.
void SetRetryHint(absl::Status& status, absl::Duration after);

// The hint of a status; nothing where there is none, or one that is no time
// from 0 to an hour: it may come from another machine.
std::optional<absl::Duration> RetryHint(const absl::Status& status);

}  // namespace winnow
