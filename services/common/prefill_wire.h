#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "services/common/prefiller.h"
#include "winnow/v1/prefill.pb.h"

namespace winnow {

// A prefill on the wire, both ways round.  What comes in is checked; errors
// are INVALID_ARGUMENT and name the field.

void ToWire(const PrefillRequest& request, v1::PrefillRequest* wire);
absl::StatusOr<PrefillRequest> FromWire(const v1::PrefillRequest& wire);

void ToWire(const PrefillResult& result, v1::PrefillResponse* wire);
absl::StatusOr<PrefillResult> FromWire(const v1::PrefillResponse& wire,
                                       const std::string& tenant_salt);

}  // namespace winnow
