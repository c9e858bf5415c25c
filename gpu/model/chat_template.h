#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace winnow {

// One message of a conversation.
struct ChatMessage {
  std::string role;     // "system", "user" or "assistant"
  std::string content;  // user text: never yields special tokens
};

// A run of a rendered prompt: markup of the template, in which special tokens
// are parsed, or text of a message, in which they are not.
struct PromptPiece {
  std::string text;
  bool markup = false;
};

// The chat templates that Winnow renders, recognised by a fingerprint of the
// model's Jinja text: no Jinja interpreter runs.
enum class ChatTemplate : uint8_t { kChatMl, kLlama3, kQwen };

// Which template `jinja` is.  Unimplemented for any other; the message names
// its SHA-256, what Winnow renders, and that --raw works without a template.
absl::StatusOr<ChatTemplate> RecogniseChatTemplate(std::string_view jinja);

// Renders a conversation, ending with the start of the assistant's answer.
// Equal to Jinja's output of the recognised template (goldens made with the
// PyPI package jinja2), cut into pieces.
absl::StatusOr<std::vector<PromptPiece>> RenderChat(
    ChatTemplate chat_template, std::span<const ChatMessage> messages);

}  // namespace winnow
