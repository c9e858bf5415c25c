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
enum class ChatTemplate : uint8_t {
  kChatMl,   // SmolLM2-Instruct
  kLlama3,   // Llama 3 Instruct
  kLlama31,  // Llama 3.1, 3.2 and 3.3 Instruct; the date it states is the
             // template's own constant, never today's
  kQwen25,   // Qwen2.5-Instruct
  kQwen3,    // Qwen3, thinking not switched off
};

// Which template `jinja` is, whatever its line ends and whether or not it ends
// in one.  Unimplemented for any other; the message names its SHA-256 (with
// line ends \n and without the last), what Winnow renders, and that --raw
// works without a template.
absl::StatusOr<ChatTemplate> RecogniseChatTemplate(std::string_view jinja);

// Renders a conversation, ending with the start of the assistant's answer.
// Equal to Jinja's output of the recognised template (goldens made with the
// PyPI package jinja2), cut into pieces: neighbours differ in `markup`, and
// none is empty.  Templates may trim a message or leave parts of it out.
//
// InvalidArgument without a message, or for a role that is not one of those
// named at ChatMessage.
absl::StatusOr<std::vector<PromptPiece>> RenderChat(
    ChatTemplate chat_template, std::span<const ChatMessage> messages);

}  // namespace winnow
