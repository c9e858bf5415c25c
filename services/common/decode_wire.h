#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "services/common/decoder.h"
#include "winnow/v1/decode.pb.h"

namespace winnow {

// A decode on the wire, both ways round.  What comes in is checked; errors are
// INVALID_ARGUMENT and name the field.

void ToWire(const DecodeRequest& request, v1::DecodeRequest* wire);
absl::StatusOr<DecodeRequest> FromWire(const v1::DecodeRequest& wire,
                                       const std::string& tenant_salt);

v1::FinishReason ToWire(FinishReason reason);
FinishReason FromWire(v1::FinishReason wire);

// All but the tokens, which travel one by one.
void ToWire(const DecodeResult& result, v1::DecodeFinished* wire);
DecodeResult FromWire(const v1::DecodeFinished& wire);

}  // namespace winnow
