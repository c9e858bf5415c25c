#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/cli/answer.h"
#include "services/cli/commands.h"
#include "services/cli/endpoint.h"
#include "services/cli/options.h"
#include "services/cli/output.h"

namespace winnow {
namespace {

struct GenerateFlags {
  ModelFlags model;
  EndpointFlags endpoint;
  PromptFlags prompt;
  SamplingFlags sampling;
  bool json = false;
  bool logprobs = false;
};

Json AnswerJson(const Answer& answer, bool logprobs) {
  const GenerationResult& result = answer.result;
  Json ids = Json::array();
  Json log_probabilities = Json::array();
  for (const TokenChoice& token : result.tokens) {
    ids.push_back(token.id);
    log_probabilities.push_back(token.log_probability);
  }
  Json json;
  json["text"] = answer.text;
  json["token_ids"] = std::move(ids);
  if (logprobs) {
    json["logprobs"] = std::move(log_probabilities);
  }
  json["context_tokens"] = result.context_tokens;
  json["prompt_tokens"] = result.prompt_tokens;
  json["finish_reason"] = FinishReasonName(result.finish_reason);
  json["policy"] = PolicyJson(result.policy);
  json["kv"] = KvJson(result.kv);
  json["timings"] = TimingsJson(result);
  return json;
}

void PrintSummary(const GenerationResult& result) {
  const Json timings = TimingsJson(result);
  const auto mebibytes = [](uint64_t bytes) {
    return static_cast<double>(bytes) / (1 << 20);
  };
  std::cerr << absl::StrCat(
      "\n[", Absl(PolicyName(result.policy.policy.kind)), ": ",
      result.prompt_tokens, " tokens, KV ", mebibytes(result.kv.stored),
      " MiB of ", mebibytes(result.kv.full), " MiB; first token after ",
      timings["ttft_ms"].get<double>(), " ms]\n");
}

absl::Status RunGenerate(const GenerateFlags& flags, const CLI::App& command) {
  WINNOW_RETURN_IF_ERROR(flags.endpoint.Check(command));
  TextRequest request;
  WINNOW_ASSIGN_OR_RETURN(request.policy,
                          RequestedPolicy(command, flags.prompt.policy));
  WINNOW_RETURN_IF_ERROR(ValidateSampling(flags.sampling.parameters));
  WINNOW_ASSIGN_OR_RETURN(request.text, flags.prompt.ReadText());
  request.sampling = flags.sampling.parameters;
  request.max_tokens = flags.sampling.max_tokens;
  request.ignore_eos = flags.sampling.ignore_eos;
  request.log_probabilities = flags.logprobs;
  TerminalListener listener(/*print_text=*/!flags.json);
  WINNOW_ASSIGN_OR_RETURN(
      const Answer answer,
      FindAnswer(flags.endpoint, flags.model, request, listener));
  if (flags.json) {
    std::cout << Dump(AnswerJson(answer, flags.logprobs)) << "\n";
  } else {
    std::cout << "\n";
    PrintSummary(answer.result);
  }
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, absl::Status& status) {
  auto* command = app.add_subcommand("generate", "Continue a prompt");
  const auto flags = std::make_shared<GenerateFlags>();
  flags->model.AddTo(*command);

  flags->prompt.AddTo(*command);
  flags->endpoint.AddTo(*command);
  flags->sampling.AddTo(*command);
  command->add_flag("--json", flags->json, "print one JSON object");
  command->add_flag("--logprobs", flags->logprobs,
                    "with --json: the tokens' log-probabilities");
  command->footer(
      "Examples:\n"
      "  winnow generate --model M.gguf --prompt 'What is a cache?'\n"
      "  winnow generate --model M.gguf --policy razor,window=256 \\\n"
      "      --context-file book.txt --prompt 'Who is the author?' --json\n"
      "  winnow generate --endpoint localhost:7700 --prompt 'Who are you?'");
  command->callback(
      [flags, command, &status] { status = RunGenerate(*flags, *command); });
}

}  // namespace winnow
