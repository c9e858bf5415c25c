#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/options.h"
#include "services/cli/output.h"
#include "services/cli/progress.h"

namespace winnow {
namespace {

struct GenerateFlags {
  ModelFlags model;
  PromptFlags prompt;
  SamplingFlags sampling;
  bool json = false;
  bool logprobs = false;
};

Json ResultJson(const Engine& engine, const GenerationResult& result,
                bool logprobs) {
  Json ids = Json::array();
  Json log_probabilities = Json::array();
  for (const TokenChoice& token : result.tokens) {
    ids.push_back(token.id);
    log_probabilities.push_back(token.log_probability);
  }
  Json json;
  json["text"] = ResultText(engine.tokenizer(), result);
  json["token_ids"] = std::move(ids);
  if (logprobs) {
    json["logprobs"] = std::move(log_probabilities);
  }
  json["context_tokens"] = result.context_tokens;
  json["prompt_tokens"] = result.prompt_tokens;
  json["finish_reason"] = FinishReasonName(result.finish_reason);
  json["policy"] = PolicyJson(result.plan);
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
      "\n[", Absl(PolicyName(result.plan.policy.kind)), ": ",
      result.prompt_tokens, " tokens, KV ", mebibytes(result.kv.stored),
      " MiB of ", mebibytes(result.kv.full), " MiB; first token after ",
      timings["ttft_ms"].get<double>(), " ms]\n");
}

absl::Status RunGenerate(const GenerateFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const EngineOptions options, flags.model.Parse());
  WINNOW_ASSIGN_OR_RETURN(const Policy policy,
                          ParsePolicy(flags.prompt.policy));
  WINNOW_RETURN_IF_ERROR(ValidateSampling(flags.sampling.parameters));
  WINNOW_ASSIGN_OR_RETURN(const PromptText text, flags.prompt.ReadText());
  Progress progress;
  progress.Show("Loading the model ...");
  WINNOW_ASSIGN_OR_RETURN(const auto engine, Engine::Create(options));
  GenerationRequest request = {.prompt = {},
                               .policy = policy,
                               .sampling = flags.sampling.parameters,
                               .max_tokens = flags.sampling.max_tokens,
                               .ignore_eos = flags.sampling.ignore_eos,
                               .forced = {}};
  WINNOW_ASSIGN_OR_RETURN(
      request.prompt,
      TokenizePrompt(engine->model(), engine->tokenizer(), text));
  progress.Clear();
  NoteDroppedBytes(request.prompt);
  progress.Show(
      absl::StrCat("Reading ", request.prompt.ids.size(), " tokens ..."));

  const bool stream = !flags.json;
  WINNOW_ASSIGN_OR_RETURN(
      const GenerationResult result,
      Generate(engine->roles(), request, {}, [&](const TokenChoice& token) {
        progress.Clear();
        if (stream) {
          std::cout << engine->tokenizer().TokenBytes(token.id, false)
                    << std::flush;
        }
        return true;
      }));
  if (flags.json) {
    std::cout << Dump(ResultJson(*engine, result, flags.logprobs)) << "\n";
  } else {
    std::cout << "\n";
    PrintSummary(result);
  }
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, absl::Status& status) {
  auto* command = app.add_subcommand("generate", "Continue a prompt");
  const auto flags = std::make_shared<GenerateFlags>();
  flags->model.AddTo(*command);
  flags->prompt.AddTo(*command);
  flags->sampling.AddTo(*command);
  command->add_flag("--json", flags->json, "print one JSON object");
  command->add_flag("--logprobs", flags->logprobs,
                    "with --json: the tokens' log-probabilities");
  command->footer(
      "Examples:\n"
      "  winnow generate --model M.gguf --prompt 'What is a cache?'\n"
      "  winnow generate --model M.gguf --policy razor,window=256 \\\n"
      "      --context-file book.txt --prompt 'Who is the author?' --json");
  command->callback([flags, &status] { status = RunGenerate(*flags); });
}

}  // namespace winnow
