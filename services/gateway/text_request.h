#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"
#include "services/gateway/generation.h"
#include "services/gateway/prompt.h"

namespace winnow {

// A request for text, as a caller states it (proto/winnow/v1/generation.proto).
struct TextRequest {
  std::string model;  // empty: whichever there is
  PromptText text;
  std::optional<Policy> policy;  // absent: TextLimits::default_policy
  SamplingParameters sampling;
  std::optional<int64_t> max_tokens;  // absent: kDefaultMaxTokens
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool log_probabilities = false;  // wanted in the answer
  // Taken as the answer instead of choices; at most one is given, and then
  // neither max_tokens nor stop.
  std::vector<int32_t> forced_ids;
  std::string forced_text;
};

inline constexpr int64_t kDefaultMaxTokens = 256;

// What a request may ask for, and what it gets where it does not ask.
struct TextLimits {
  uint64_t max_prompt_bytes = kMaxPromptBytes;  // of all texts together
  int64_t max_tokens = std::numeric_limits<int64_t>::max();  // of the answer
  Policy default_policy;
};

// Checks everything that can be known before a text is tokenised.
// InvalidArgument names the field; OutOfRange for too many bytes of text.
absl::Status CheckTextRequest(const TextRequest& request,
                              const TextLimits& limits);

// The tokens of a request that passed CheckTextRequest.  Errors of
// TokenizePrompt and CheckLength; InvalidArgument if a forced id is not in the
// vocabulary, or the forced text has no tokens.
absl::StatusOr<GenerationRequest> TokenizeRequest(const Model& model,
                                                  const Tokenizer& tokenizer,
                                                  const TextRequest& request,
                                                  const TextLimits& limits);

}  // namespace winnow
