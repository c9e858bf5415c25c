#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/model/chat_template.h"
#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"

namespace winnow {

// Messages of a conversation, at most.
inline constexpr size_t kMaxMessages = 1024;

// Text of one request: `prompt`, with or without `system`, or `messages`.
struct PromptText {
  std::string system;   // empty: the template's own, if it has one
  std::string context;  // a document before the conversation; may be empty
  std::string prompt;
  // A conversation instead of system and prompt: a system message or none,
  // then user and assistant by turns, the user first and last.  None is empty.
  std::vector<ChatMessage> messages;
  bool raw = false;  // no chat template; markers in the text are tokens
};

struct PromptTokens {
  std::vector<int32_t> ids;  // context and prompt
  int64_t compact_at = 0;    // tokens of the context; all ids without one
  int64_t dropped_bytes = 0;
};

// Largest text of a request, checked before it is tokenised.
inline constexpr size_t kMaxPromptBytes = size_t{64} << 20;

// Bytes of all texts of a request.
uint64_t PromptBytes(const PromptText& text);

// Tokens of a request.  The chat template is rendered once, with context and
// newline before the first message of the user, and cut at the end of the
// context; its pieces are tokenised each on its own, so user text never yields
// a special token.  With `raw`, context and prompt are tokenised each on its
// own and nothing is put between them.
//
// InvalidArgument for invalid UTF-8 (says where), an empty prompt or message,
// a conversation out of order (names the message), `raw` messages, or text
// over `max_bytes`; Unimplemented for an unknown chat template.
absl::StatusOr<PromptTokens> TokenizePrompt(
    const Model& model, const Tokenizer& tokenizer, const PromptText& text,
    uint64_t max_bytes = kMaxPromptBytes);

}  // namespace winnow
