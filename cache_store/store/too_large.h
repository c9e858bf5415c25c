#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace winnow {

// RESOURCE_EXHAUSTED of a write that is larger than the whole store: unlike
// one for lack of room, waiting does not help.  A payload of the status says
// so to those who tell callers when to retry.
absl::Status TooLargeForStore(std::string_view message);

// Whether a status is one of those.
bool IsTooLargeForStore(const absl::Status& status);

}  // namespace winnow
