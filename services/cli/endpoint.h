#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "services/cli/answer.h"
#include "services/cli/options.h"
#include "services/gateway/text_request.h"
#include <CLI/App.hpp>

namespace winnow {

// Where a request is answered, as it stands on the command line: by a gateway,
// or, without --endpoint, in this process.
struct EndpointFlags {
  std::string endpoint;  // "HOST:PORT" or "unix:/PATH"; empty: this process
  std::string timeout = "5m";

  // After ModelFlags and PromptFlags, whose options it looks at.
  void AddTo(CLI::App& command);
  // InvalidArgument names an option that does not go with --endpoint, or one
  // that is missing without it.
  absl::Status Check(const CLI::App& command) const;
};

// The policy to ask for: absent where a gateway answers and none was given.
absl::StatusOr<std::optional<Policy>> RequestedPolicy(const CLI::App& command,
                                                      const std::string& text);

// Answers a request where `flags` say.  Errors of AnswerHere, or those of
// GenerationService.Generate; InvalidArgument for a timeout that is none.
absl::StatusOr<Answer> FindAnswer(const EndpointFlags& flags,
                                  const ModelFlags& model,
                                  const TextRequest& request,
                                  TerminalListener& listener);

}  // namespace winnow
