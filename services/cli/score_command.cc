#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/cli/answer.h"
#include "services/cli/commands.h"
#include "services/cli/endpoint.h"
#include "services/cli/options.h"
#include "services/cli/output.h"

namespace winnow {
namespace {

struct ScoreFlags {
  ModelFlags model;
  EndpointFlags endpoint;
  PromptFlags prompt;
  std::string answer;
  bool json = false;
};

Json ScoreJson(const GenerationResult& result) {
  Json tokens = Json::array();
  double log_probability = 0;
  bool exact = true;
  for (const TokenChoice& token : result.tokens) {
    tokens.push_back({{"id", token.id},
                      {"logprob", token.log_probability},
                      {"greedy", token.greedy}});
    log_probability += token.log_probability;
    exact = exact && token.greedy;
  }
  Json json;
  json["tokens"] = std::move(tokens);
  json["nll"] = -log_probability / static_cast<double>(result.tokens.size());
  json["exact"] = exact;
  json["context_tokens"] = result.context_tokens;
  json["prompt_tokens"] = result.prompt_tokens;
  json["policy"] = PolicyJson(result.policy);
  json["kv"] = KvJson(result.kv);
  json["timings"] = TimingsJson(result);
  return json;
}

absl::Status RunScore(const ScoreFlags& flags, const CLI::App& command) {
  WINNOW_RETURN_IF_ERROR(flags.endpoint.Check(command));
  TextRequest request;
  WINNOW_ASSIGN_OR_RETURN(request.policy,
                          RequestedPolicy(command, flags.prompt.policy));
  WINNOW_ASSIGN_OR_RETURN(request.text, flags.prompt.ReadText());
  if (flags.answer.empty()) {
    return absl::InvalidArgumentError(
        "the answer has no tokens; give text with --answer");
  }
  request.forced_text = flags.answer;
  request.log_probabilities = true;
  TerminalListener listener(/*print_text=*/false);
  WINNOW_ASSIGN_OR_RETURN(
      const Answer answer,
      FindAnswer(flags.endpoint, flags.model, request, listener));
  const GenerationResult& result = answer.result;
  const Json json = ScoreJson(result);
  if (flags.json) {
    std::cout << Dump(json) << "\n";
  } else {
    std::cout << "nll " << json["nll"].get<double>() << " nats a token over "
              << result.tokens.size() << " tokens, "
              << (json["exact"].get<bool>() ? "all" : "not all")
              << " greedy; KV " << result.kv.stored << " of " << result.kv.full
              << " bytes\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, absl::Status& status) {
  auto* command = app.add_subcommand(
      "score", "Rate how likely an answer is over the kept cache");
  const auto flags = std::make_shared<ScoreFlags>();
  flags->model.AddTo(*command);

  flags->prompt.AddTo(*command);
  flags->endpoint.AddTo(*command);
  command->add_option("--answer", flags->answer, "text whose tokens are rated")
      ->required()
      ->type_name("TEXT");
  command->add_flag("--json", flags->json, "print one JSON object");
  command->footer(
      "Example:\n"
      "  winnow score --model M.gguf --policy streaming,window=1024 \\\n"
      "      --context-file book.txt --prompt 'Who is the author?' \\\n"
      "      --answer 'Jane Austen' --json");
  command->callback(
      [flags, command, &status] { status = RunScore(*flags, *command); });
}

}  // namespace winnow
