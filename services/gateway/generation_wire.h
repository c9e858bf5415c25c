#pragma once

#include "absl/status/statusor.h"

#include "services/gateway/generation.h"
#include "services/gateway/text_request.h"
#include "winnow/v1/generation.pb.h"

namespace winnow {

// A generation on the wire, both ways round.  What comes in is checked; errors
// are INVALID_ARGUMENT and name the field.

// `request` has a chat template: raw prompts do not travel.
void ToWire(const TextRequest& request, v1::GenerateRequest* wire);
// What CheckTextRequest checks is left to it.
absl::StatusOr<TextRequest> FromWire(const v1::GenerateRequest& wire);

// All but the text.
void ToWire(const TokenChoice& token, bool log_probabilities,
            v1::TokenEvent* wire);
TokenChoice FromWire(const v1::TokenEvent& wire);

// All but the tokens, which travel one by one, the context's length, and the
// text.
void ToWire(const GenerationResult& result, v1::Finished* wire);
absl::StatusOr<GenerationResult> FromWire(const v1::Finished& wire);

}  // namespace winnow
