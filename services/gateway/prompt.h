#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"

namespace winnow {

// Text of one request.
struct PromptText {
  std::string system;   // empty: the template's own, if it has one
  std::string context;  // a document before the prompt; may be empty
  std::string prompt;
  bool raw = false;  // no chat template; markers in the text are tokens
};

struct PromptTokens {
  std::vector<int32_t> ids;  // context and prompt
  int64_t compact_at = 0;    // tokens of the context; all ids without one
  int64_t dropped_bytes = 0;
};

// Largest text of a request, checked before it is tokenised.
inline constexpr size_t kMaxPromptBytes = size_t{64} << 20;

// Tokens of a request.  The chat template is rendered once with context,
// newline and prompt as the user's message and cut at the end of the context;
// its pieces are tokenised each on its own, so user text never yields a
// special token.  With `raw`, context and prompt are tokenised each on its own
// and nothing is put between them.
//
// InvalidArgument for invalid UTF-8 (says where), an empty prompt, or text
// over kMaxPromptBytes; Unimplemented for an unknown chat template.
absl::StatusOr<PromptTokens> TokenizePrompt(const Model& model,
                                            const Tokenizer& tokenizer,
                                            const PromptText& text);

}  // namespace winnow
