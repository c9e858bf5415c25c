#include "services/gateway/prompt.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

// Text before and after the end of the context.
struct CutPieces {
  std::vector<PromptPiece> context;
  std::vector<PromptPiece> prompt;
};

absl::Status AppendTokens(const Tokenizer& tokenizer,
                          const std::vector<PromptPiece>& pieces,
                          PromptTokens& tokens) {
  for (const PromptPiece& piece : pieces) {
    WINNOW_ASSIGN_OR_RETURN(
        const TokenizedText encoded,
        tokenizer.Encode(piece.text, piece.markup ? SpecialTokens::kParse
                                                  : SpecialTokens::kAsText));
    tokens.ids.insert(tokens.ids.end(), encoded.ids.begin(), encoded.ids.end());
    tokens.dropped_bytes += encoded.dropped_bytes;
  }
  return absl::OkStatus();
}

// Cuts a rendered conversation where the context ends: inside the piece that
// holds the user's first message, after `skip` pieces of other messages.
absl::StatusOr<CutPieces> CutAtContext(std::vector<PromptPiece> pieces,
                                       const std::string& context,
                                       int64_t skip) {
  CutPieces cut;
  bool found = false;
  for (PromptPiece& piece : pieces) {
    const bool is_message = !found && !piece.markup && skip-- == 0 &&
                            piece.text.starts_with(context);
    if (is_message) {
      found = true;
      cut.context.push_back({.text = context, .markup = false});
      cut.prompt.push_back(
          {.text = piece.text.substr(context.size()), .markup = false});
    } else {
      (found ? cut.prompt : cut.context).push_back(std::move(piece));
    }
  }
  if (!found) {
    return absl::InvalidArgumentError(
        "the model's chat template changes the start of the user's message, "
        "so the end of the context cannot be found in it; strip white space "
        "from the start of the context");
  }
  return cut;
}

CutPieces RawPieces(const PromptText& text) {
  CutPieces cut;
  std::vector<PromptPiece>& last =
      text.context.empty() ? cut.context : cut.prompt;
  if (!text.context.empty()) {
    cut.context.push_back({.text = text.context, .markup = true});
  }
  last.push_back({.text = text.prompt, .markup = true});
  return cut;
}

std::vector<ChatMessage> Conversation(const PromptText& text) {
  if (!text.messages.empty()) {
    return text.messages;
  }
  std::vector<ChatMessage> messages;
  if (!text.system.empty()) {
    messages.push_back({.role = "system", .content = text.system});
  }
  messages.push_back({.role = "user", .content = text.prompt});
  return messages;
}

absl::StatusOr<CutPieces> RenderPieces(const Model& model,
                                       const PromptText& text) {
  WINNOW_ASSIGN_OR_RETURN(
      const ChatTemplate chat_template,
      RecogniseChatTemplate(model.tokenizer_source().chat_template));
  std::vector<ChatMessage> messages = Conversation(text);
  if (text.context.empty()) {
    CutPieces cut;
    WINNOW_ASSIGN_OR_RETURN(cut.context, RenderChat(chat_template, messages));
    return cut;
  }
  int64_t skip = 0;
  const bool has_system = messages.front().role == "system";
  if (has_system) {
    // A template may trim the system's message to nothing.
    WINNOW_ASSIGN_OR_RETURN(
        const std::vector<PromptPiece> before,
        RenderChat(chat_template, std::span(messages).first(1)));
    skip = std::ranges::count(before, false, &PromptPiece::markup);
  }
  std::string& first = messages[has_system ? 1 : 0].content;
  first = absl::StrCat(text.context, "\n", first);
  WINNOW_ASSIGN_OR_RETURN(std::vector<PromptPiece> pieces,
                          RenderChat(chat_template, messages));
  return CutAtContext(std::move(pieces), text.context, skip);
}

// The templates take turns of user and assistant alone.
absl::Status CheckTurns(const std::vector<ChatMessage>& messages) {
  if (messages.size() > kMaxMessages) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages has ", messages.size(),
                     " entries; the limit is ", kMaxMessages));
  }
  const size_t first = messages.front().role == "system" ? 1 : 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    const char* const expected = i < first              ? "system"
                                 : (i - first) % 2 == 0 ? "user"
                                                        : "assistant";
    if (role != expected) {
      return absl::InvalidArgumentError(absl::StrCat(
          "messages[", i, "].role is ", role, " where it must be ", expected,
          ": a system message or none, then user and assistant by turns"));
    }
    if (messages[i].content.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].content is empty; give it text"));
    }
  }
  if (messages.back().role != "user") {
    return absl::InvalidArgumentError(
        absl::StrCat("messages[", messages.size() - 1, "].role is ",
                     messages.back().role, "; the last must be the user's"));
  }
  return absl::OkStatus();
}

absl::Status CheckText(const PromptText& text, uint64_t max_bytes) {
  if (const uint64_t bytes = PromptBytes(text); bytes > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", bytes, " bytes; the limit is ", max_bytes));
  }
  if (!text.messages.empty()) {
    if (text.raw || !text.prompt.empty() || !text.system.empty()) {
      return absl::InvalidArgumentError(
          "messages go with a chat template, and without a prompt");
    }
    return CheckTurns(text.messages);
  }
  if (text.prompt.empty()) {
    return absl::InvalidArgumentError(
        "the prompt is empty; give text with --prompt or --prompt-file");
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t PromptBytes(const PromptText& text) {
  uint64_t bytes =
      text.system.size() + text.context.size() + text.prompt.size();
  for (const ChatMessage& message : text.messages) {
    bytes += message.content.size();
  }
  return bytes;
}

absl::StatusOr<PromptTokens> TokenizePrompt(const Model& model,
                                            const Tokenizer& tokenizer,
                                            const PromptText& text,
                                            uint64_t max_bytes) {
  WINNOW_RETURN_IF_ERROR(CheckText(text, max_bytes));
  CutPieces cut;
  if (text.raw) {
    cut = RawPieces(text);
  } else {
    WINNOW_ASSIGN_OR_RETURN(cut, RenderPieces(model, text));
  }
  PromptTokens tokens;
  const TokenizerSource& source = model.tokenizer_source();
  if (text.raw && source.add_beginning_of_text &&
      source.beginning_of_text.has_value()) {
    tokens.ids.push_back(*source.beginning_of_text);
  }
  WINNOW_RETURN_IF_ERROR(AppendTokens(tokenizer, cut.context, tokens));
  tokens.compact_at = std::ssize(tokens.ids);
  WINNOW_RETURN_IF_ERROR(AppendTokens(tokenizer, cut.prompt, tokens));
  if (tokens.ids.empty()) {
    return absl::InvalidArgumentError(
        "the prompt has no tokens: the vocabulary has none for its bytes");
  }
  if (tokens.compact_at == 0) {
    tokens.compact_at = std::ssize(tokens.ids);  // an empty context
  }
  return tokens;
}

}  // namespace winnow
