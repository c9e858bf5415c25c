#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/options.h"
#include "services/cli/output.h"
#include "services/cli/progress.h"

namespace winnow {
namespace {

struct ScoreFlags {
  ModelFlags model;
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
  json["policy"] = PolicyJson(result.plan);
  json["kv"] = KvJson(result.kv);
  json["timings"] = TimingsJson(result);
  return json;
}

absl::StatusOr<std::vector<int32_t>> TokenizeAnswer(const Engine& engine,
                                                    const ScoreFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(
      TokenizedText answer,
      engine.tokenizer().Encode(flags.answer, flags.prompt.raw
                                                  ? SpecialTokens::kParse
                                                  : SpecialTokens::kAsText));
  if (answer.ids.empty()) {
    return absl::InvalidArgumentError(
        "the answer has no tokens; give text with --answer");
  }
  return std::move(answer.ids);
}

absl::Status RunScore(const ScoreFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const EngineOptions options, flags.model.Parse());
  WINNOW_ASSIGN_OR_RETURN(const Policy policy,
                          ParsePolicy(flags.prompt.policy));
  WINNOW_ASSIGN_OR_RETURN(const PromptText text, flags.prompt.ReadText());
  Progress progress;
  progress.Show("Loading the model ...");
  WINNOW_ASSIGN_OR_RETURN(const auto engine, Engine::Create(options));
  GenerationRequest request;
  request.policy = policy;
  WINNOW_ASSIGN_OR_RETURN(
      request.prompt,
      TokenizePrompt(engine->model(), engine->tokenizer(), text));
  progress.Clear();
  NoteDroppedBytes(request.prompt);
  progress.Show(
      absl::StrCat("Reading ", request.prompt.ids.size(), " tokens ..."));
  WINNOW_ASSIGN_OR_RETURN(request.forced, TokenizeAnswer(*engine, flags));
  request.max_tokens = std::ssize(request.forced);
  WINNOW_ASSIGN_OR_RETURN(
      const GenerationResult result,
      Generate(engine->roles(), request, {}, [&](const TokenChoice&) {
        progress.Clear();
        return true;
      }));
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
  command->add_option("--answer", flags->answer, "text whose tokens are rated")
      ->required()
      ->type_name("TEXT");
  command->add_flag("--json", flags->json, "print one JSON object");
  command->footer(
      "Example:\n"
      "  winnow score --model M.gguf --policy streaming,window=1024 \\\n"
      "      --context-file book.txt --prompt 'Who is the author?' \\\n"
      "      --answer 'Jane Austen' --json");
  command->callback([flags, &status] { status = RunScore(*flags); });
}

}  // namespace winnow
