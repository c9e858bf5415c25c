#include "gpu/model/chat_template.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "gpu/base/sha256.h"

namespace winnow {
namespace {

struct Fingerprint {
  std::string_view sha256;
  ChatTemplate chat_template;
};

// Of the texts with line ends \n and without the last.  Where they come from:
// tests/golden/make_chat.py, which names them as here.
constexpr std::array kFingerprints = {
    Fingerprint{
        "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
        ChatTemplate::kChatMl},  // smollm2
    Fingerprint{
        "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",
        ChatTemplate::kLlama3},  // llama3
    Fingerprint{
        "b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2",
        ChatTemplate::kLlama3},  // llama3_first
    Fingerprint{
        "93c0e9aa3629bbd77e68dbc0f5621f6e6b23aa8d74b932595cdb8d64684526d7",
        ChatTemplate::kLlama31},  // llama31
    Fingerprint{
        "d82792f95932f1c9cef5c4bd992f171225e3bf8c7b609b4557c9e1ec96be819f",
        ChatTemplate::kLlama31},  // llama32
    Fingerprint{
        "55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a",
        ChatTemplate::kQwen25},  // qwen25
    Fingerprint{
        "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5",
        ChatTemplate::kQwen3},  // qwen3
};

constexpr std::string_view kRendered =
    "SmolLM2, Llama 3, Llama 3.1 to 3.3, Qwen2.5 and Qwen3";

// What Python's str.strip() takes away, which Jinja's trim calls.
constexpr std::array<std::string_view, 29> kPythonSpaces = {
    "\t",     "\n",     "\v",     "\f",     "\r",     "\x1C",
    "\x1D",   "\x1E",   "\x1F",   " ",      "\u0085", "\u00A0",
    "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
    "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200A",
    "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};

std::string_view Trim(std::string_view text) {
  const auto begins = [&](std::string_view s) { return text.starts_with(s); };
  const auto ends = [&](std::string_view s) { return text.ends_with(s); };
  for (auto space = kPythonSpaces.end();
       (space = std::ranges::find_if(kPythonSpaces, begins)) !=
       kPythonSpaces.end();) {
    text.remove_prefix(space->size());
  }
  for (auto space = kPythonSpaces.end();
       (space = std::ranges::find_if(kPythonSpaces, ends)) !=
       kPythonSpaces.end();) {
    text.remove_suffix(space->size());
  }
  return text;
}

std::string_view TrimNewlinesLeft(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}

std::string_view TrimNewlinesRight(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

// Collects pieces, joining neighbours of one kind.
class Prompt {
 public:
  Prompt& Markup(std::string_view text) { return Append(text, true); }
  Prompt& Content(std::string_view text) { return Append(text, false); }
  std::vector<PromptPiece> Take() { return std::move(pieces_); }

 private:
  Prompt& Append(std::string_view text, bool markup) {
    if (text.empty()) {
      return *this;
    }
    if (pieces_.empty() || pieces_.back().markup != markup) {
      pieces_.push_back({.text = {}, .markup = markup});
    }
    pieces_.back().text.append(text);
    return *this;
  }

  std::vector<PromptPiece> pieces_;
};

using Messages = std::span<const ChatMessage>;

bool BeginsWithSystem(Messages messages) {
  return messages.front().role == "system";
}

void AppendChatMl(Prompt& prompt, std::string_view role,
                  std::string_view content) {
  prompt.Markup("<|im_start|>").Markup(role).Markup("\n");
  prompt.Content(content).Markup("<|im_end|>\n");
}

// SmolLM2 and Qwen2.5 differ in what the system says if nobody else does.
void RenderChatMl(std::string_view default_system, Messages messages,
                  Prompt& prompt) {
  if (!BeginsWithSystem(messages)) {
    prompt.Markup("<|im_start|>system\n");
    prompt.Markup(default_system).Markup("<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) {
    AppendChatMl(prompt, message.role, message.content);
  }
  prompt.Markup("<|im_start|>assistant\n");
}

// Where the last question of a user is, as Qwen3's template finds it: results
// of tools, which come as the user's, are none.
size_t LastQuestion(Messages messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    const std::string_view content = messages[i].content;
    if (messages[i].role == "user" &&
        !(content.starts_with("<tool_response>") &&
          content.ends_with("</tool_response>"))) {
      return i;
    }
  }
  return messages.size() - 1;
}

struct Answer {
  std::string_view reasoning;
  std::string_view content;
};

// Takes an answer apart at its </think>, as Qwen3's template does.
Answer SplitReasoning(std::string_view answer) {
  constexpr std::string_view kOpen = "<think>";
  constexpr std::string_view kClose = "</think>";
  const size_t first_end = answer.find(kClose);
  if (first_end == std::string_view::npos) {
    return {.reasoning = {}, .content = answer};
  }
  std::string_view reasoning = TrimNewlinesRight(answer.substr(0, first_end));
  if (const size_t begin = reasoning.rfind(kOpen);
      begin != std::string_view::npos) {
    reasoning.remove_prefix(begin + kOpen.size());
  }
  return {.reasoning = TrimNewlinesLeft(reasoning),
          .content = TrimNewlinesLeft(
              answer.substr(answer.rfind(kClose) + kClose.size()))};
}

// Reasoning is kept only in answers after the last question.
void RenderQwen3(Messages messages, Prompt& prompt) {
  const size_t last_question = LastQuestion(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role != "assistant") {
      AppendChatMl(prompt, message.role, message.content);
      continue;
    }
    const Answer answer = SplitReasoning(message.content);
    const bool is_last = i + 1 == messages.size();
    if (i <= last_question || (!is_last && answer.reasoning.empty())) {
      AppendChatMl(prompt, message.role, answer.content);
      continue;
    }
    prompt.Markup("<|im_start|>assistant\n<think>\n");
    prompt.Content(TrimNewlinesRight(answer.reasoning));
    prompt.Markup("\n</think>\n\n");
    prompt.Content(TrimNewlinesLeft(answer.content)).Markup("<|im_end|>\n");
  }
  prompt.Markup("<|im_start|>assistant\n");
}

void RenderLlama3(Messages messages, Prompt& prompt) {
  for (const ChatMessage& message : messages) {
    prompt.Markup("<|start_header_id|>").Markup(message.role);
    prompt.Markup("<|end_header_id|>\n\n");
    prompt.Content(Trim(message.content)).Markup("<|eot_id|>");
  }
  prompt.Markup("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

void RenderLlama31(Messages messages, Prompt& prompt) {
  prompt.Markup(
      "<|start_header_id|>system<|end_header_id|>\n\n"
      "Cutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\n");
  if (BeginsWithSystem(messages)) {
    prompt.Content(Trim(messages.front().content));
    messages = messages.subspan(1);
  }
  prompt.Markup("<|eot_id|>");
  RenderLlama3(messages, prompt);
}

absl::Status CheckMessages(Messages messages) {
  if (messages.empty()) {
    return absl::InvalidArgumentError("a conversation needs a message");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].role is \"", absl::CHexEscape(role),
                       "\"; it must be \"system\", \"user\" or \"assistant\""));
    }
  }
  return absl::OkStatus();
}

// Jinja reads every line end as \n and drops the last one.
std::string Normalised(std::string_view jinja) {
  std::string text =
      absl::StrReplaceAll(std::string(jinja), {{"\r\n", "\n"}, {"\r", "\n"}});
  if (text.ends_with('\n')) {
    text.pop_back();
  }
  return text;
}

}  // namespace

absl::StatusOr<ChatTemplate> RecogniseChatTemplate(std::string_view jinja) {
  const std::string sha256 = ToHex(Sha256(Normalised(jinja)));
  const auto known =
      std::ranges::find(kFingerprints, sha256, &Fingerprint::sha256);
  if (known != kFingerprints.end()) {
    return known->chat_template;
  }
  return absl::UnimplementedError(absl::StrCat(
      jinja.empty() ? "the model has no chat template"
                    : absl::StrCat("the model's chat template (SHA-256 ",
                                   sha256, ") is not one that Winnow renders"),
      "; it renders those of ", std::string(kRendered),
      "; --raw sends the text without a template"));
}

absl::StatusOr<std::vector<PromptPiece>> RenderChat(ChatTemplate chat_template,
                                                    Messages messages) {
  if (absl::Status status = CheckMessages(messages); !status.ok()) {
    return status;
  }
  Prompt prompt;
  switch (chat_template) {
    case ChatTemplate::kChatMl:
      RenderChatMl(
          "You are a helpful AI assistant named SmolLM, trained by Hugging "
          "Face",
          messages, prompt);
      break;
    case ChatTemplate::kLlama3:
      prompt.Markup("<|begin_of_text|>");
      RenderLlama3(messages, prompt);
      break;
    case ChatTemplate::kLlama31:
      prompt.Markup("<|begin_of_text|>");
      RenderLlama31(messages, prompt);
      break;
    case ChatTemplate::kQwen25:
      RenderChatMl(
          "You are Qwen, created by Alibaba Cloud. You are a helpful "
          "assistant.",
          messages, prompt);
      break;
    case ChatTemplate::kQwen3:
      RenderQwen3(messages, prompt);
      break;
  }
  return prompt.Take();
}

}  // namespace winnow
