#include "services/cli/answer.h"

#include <iostream>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/cli/output.h"
#include "services/gateway/text_stream.h"

namespace winnow {

void TerminalListener::Accepted(int64_t prompt_tokens, int64_t dropped_bytes) {
  progress_.Clear();
  NoteDroppedBytes(dropped_bytes);
  progress_.Show(absl::StrCat("Reading ", prompt_tokens, " tokens ..."));
}

void TerminalListener::Text(std::string_view text) {
  progress_.Clear();
  if (print_text_) {
    std::cout << text << std::flush;
  }
}

absl::StatusOr<Answer> AnswerHere(const ModelFlags& model,
                                  const TextRequest& request,
                                  TerminalListener& listener) {
  WINNOW_ASSIGN_OR_RETURN(const EngineOptions options, model.Parse());
  WINNOW_RETURN_IF_ERROR(CheckTextRequest(request, {}));
  listener.Stage("Loading the model ...");
  WINNOW_ASSIGN_OR_RETURN(const auto engine, Engine::Create(options));
  const Tokenizer& tokenizer = engine->tokenizer();
  WINNOW_ASSIGN_OR_RETURN(
      const GenerationRequest tokens,
      TokenizeRequest(engine->model(), tokenizer, request, {}));
  listener.Accepted(std::ssize(tokens.prompt.ids), tokens.prompt.dropped_bytes);
  Answer answer;
  TextStream stream(request.stop);
  const auto add = [&](const std::string& piece) {
    listener.Text(piece);
    answer.text += piece;
  };
  auto result =
      Generate(engine->roles(), tokens, {}, [&](const TokenChoice& token) {
        add(stream.Push(tokenizer.TokenBytes(token.id,
                                             /*with_special=*/false)));
        return !stream.stopped();
      });
  if (!result.ok()) {
    return result.status();
  }
  answer.result = *std::move(result);
  add(stream.Finish());
  if (stream.stopped()) {
    answer.result.finish_reason = FinishReason::kStop;
  }
  return answer;
}

}  // namespace winnow
