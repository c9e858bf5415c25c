#include "services/gateway/prompt.h"

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/model/chat_template.h"

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
// holds the user's message.
absl::StatusOr<CutPieces> CutAtContext(std::vector<PromptPiece> pieces,
                                       const PromptText& text) {
  CutPieces cut;
  if (text.context.empty()) {
    cut.context = std::move(pieces);
    return cut;
  }
  bool found = false;
  for (PromptPiece& piece : pieces) {
    const bool is_message =
        !found && !piece.markup && piece.text.starts_with(text.context);
    if (is_message) {
      found = true;
      cut.context.push_back({.text = text.context, .markup = false});
      cut.prompt.push_back(
          {.text = piece.text.substr(text.context.size()), .markup = false});
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

absl::StatusOr<CutPieces> RenderPieces(const Model& model,
                                       const PromptText& text) {
  if (text.raw) {
    CutPieces cut;
    std::vector<PromptPiece>& last =
        text.context.empty() ? cut.context : cut.prompt;
    if (!text.context.empty()) {
      cut.context.push_back({.text = text.context, .markup = true});
    }
    last.push_back({.text = text.prompt, .markup = true});
    return cut;
  }
  WINNOW_ASSIGN_OR_RETURN(
      const ChatTemplate chat_template,
      RecogniseChatTemplate(model.tokenizer_source().chat_template));
  std::vector<ChatMessage> messages;
  if (!text.system.empty()) {
    messages.push_back({.role = "system", .content = text.system});
  }
  const std::string content =
      text.context.empty() ? text.prompt
                           : absl::StrCat(text.context, "\n", text.prompt);
  messages.push_back({.role = "user", .content = content});
  WINNOW_ASSIGN_OR_RETURN(std::vector<PromptPiece> pieces,
                          RenderChat(chat_template, messages));
  return CutAtContext(std::move(pieces), text);
}

}  // namespace

absl::StatusOr<PromptTokens> TokenizePrompt(const Model& model,
                                            const Tokenizer& tokenizer,
                                            const PromptText& text) {
  const size_t bytes =
      text.system.size() + text.context.size() + text.prompt.size();
  if (bytes > kMaxPromptBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", bytes, " bytes; the limit is ", kMaxPromptBytes));
  }
  if (text.prompt.empty()) {
    return absl::InvalidArgumentError(
        "the prompt is empty; give text with --prompt or --prompt-file");
  }
  WINNOW_ASSIGN_OR_RETURN(const CutPieces cut, RenderPieces(model, text));
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
