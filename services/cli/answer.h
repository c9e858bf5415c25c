#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "services/cli/options.h"
#include "services/cli/progress.h"
#include "services/gateway/generation.h"
#include "services/gateway/text_request.h"

namespace winnow {

// What came of a request, wherever it was answered.
struct Answer {
  GenerationResult result;
  std::string text;  // without special tokens; UTF-8
};

// Follows a request on its way.  Shows stages on standard error, and the text
// on standard output as it comes, if that is wanted.
class TerminalListener {
 public:
  explicit TerminalListener(bool print_text) : print_text_(print_text) {}

  void Stage(const std::string& line) { progress_.Show(line); }
  void Accepted(int64_t prompt_tokens, int64_t dropped_bytes);
  // `text` may be empty: a token came all the same.
  void Text(std::string_view text);

 private:
  Progress progress_;
  const bool print_text_;
};

// Answers in this process, with an engine of its own.  Errors of
// Engine::Create, CheckTextRequest, TokenizeRequest and Generate.
absl::StatusOr<Answer> AnswerHere(const ModelFlags& model,
                                  const TextRequest& request,
                                  TerminalListener& listener);

}  // namespace winnow
