#include "services/bench/bench_serve.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/bench/bench_ask.h"
#include "services/bench/bench_deployment.h"
#include "services/bench/bench_machine.h"
#include "services/common/channel.h"
#include "services/common/units.h"

namespace winnow {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(5);

double Milliseconds(absl::Duration time) {
  return absl::ToDoubleMilliseconds(time);
}

// One of the two, with what it needs to be asked.
struct Server {
  std::unique_ptr<Deployment> deployment;
  std::shared_ptr<grpc::Channel> channel;
};

// Answers of one policy, round after round.
struct Answers {
  std::vector<AskTimes> one;
  std::vector<AskTimes> split;
};

template <typename Of>
Spread SpreadBy(const std::vector<AskTimes>& answers, const Of& of) {
  std::vector<double> values;
  values.reserve(answers.size());
  for (const AskTimes& answer : answers) {
    values.push_back(Milliseconds(of(answer)));
  }
  return SpreadOf(std::move(values));
}

template <typename Of>
Spread RatioBy(const Answers& answers, const Of& of) {
  std::vector<double> values;
  values.reserve(answers.one.size());
  for (size_t i = 0; i < answers.one.size(); ++i) {
    values.push_back(
        absl::FDivDuration(of(answers.split[i]), of(answers.one[i])));
  }
  return SpreadOf(std::move(values));
}

AnswerFigures FiguresOf(const std::vector<AskTimes>& answers) {
  using A = AskTimes;
  return {
      .first_token_ms =
          SpreadBy(answers, [](const A& a) { return a.FirstToken(); }),
      .second_token_ms =
          SpreadBy(answers, [](const A& a) { return a.SecondToken(); }),
      .inter_token_ms =
          SpreadBy(answers, [](const A& a) { return a.InterToken(); }),
      .total_ms = SpreadBy(answers, [](const A& a) { return a.Total(); }),
      .prefill_ms =
          SpreadBy(answers, [](const A& a) { return a.result.prefill.total; }),
      .write_ms =
          SpreadBy(answers, [](const A& a) { return a.result.prefill.write; }),
      .pull_ms = SpreadBy(answers, [](const A& a) { return a.result.pull; }),
      .decode_ms =
          SpreadBy(answers, [](const A& a) { return a.result.decode; })};
}

PolicyFigures FiguresOf(const Policy& policy, const Answers& answers) {
  using A = AskTimes;
  return {
      .policy = policy,
      .context_tokens =
          std::ranges::min(answers.one, {}, &A::context_tokens).context_tokens,
      .one = FiguresOf(answers.one),
      .split = FiguresOf(answers.split),
      .first_token_ratio =
          RatioBy(answers, [](const A& a) { return a.FirstToken(); }),
      .second_token_ratio =
          RatioBy(answers, [](const A& a) { return a.SecondToken(); }),
      .inter_token_ratio =
          RatioBy(answers, [](const A& a) { return a.InterToken(); }),
      .total_ratio = RatioBy(answers, [](const A& a) { return a.Total(); })};
}

absl::StatusOr<AskTimes> AskWhenQuiet(const Server& server,
                                      const TextRequest& request,
                                      absl::Duration wait_quiet) {
  WaitUntilQuiet(kQuietCores, wait_quiet);
  AskTimes times = Ask(server.channel, request, kTimeout);
  WINNOW_RETURN_IF_ERROR(times.status);
  return times;
}

// Asks both the same, by turns first.
absl::Status RunRound(const ServeBenchOptions& options,
                      const std::array<Server, 2>& servers, int round,
                      const TextRequest& request, Answers& answers) {
  std::array<AskTimes, 2> times;
  for (const int turn : {0, 1}) {
    const auto index = static_cast<size_t>((turn + round) % 2);
    WINNOW_ASSIGN_OR_RETURN(times[index], AskWhenQuiet(servers[index], request,
                                                       options.wait_quiet));
  }
  if (times[0].ids != times[1].ids) {
    return absl::InternalError(
        "a process for each role gives other tokens than one process for all; "
        "report this as a bug");
  }
  answers.one.push_back(std::move(times[0]));
  answers.split.push_back(std::move(times[1]));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ContextTokens(const Server& server, int64_t num_words) {
  TextRequest request;
  request.text.context = RandomText(num_words, 0);
  request.text.prompt = "Go on.";
  request.policy = Policy();
  request.max_tokens = 2;
  request.ignore_eos = true;
  const AskTimes times = Ask(server.channel, request, kTimeout);
  WINNOW_RETURN_IF_ERROR(times.status);
  return times.context_tokens;
}

// Of RandomText, as the model's tokenizer has it, without the template's.
absl::StatusOr<double> TokensPerWord(const Server& server) {
  constexpr int64_t kFew = 100;
  constexpr int64_t kMany = 500;
  WINNOW_ASSIGN_OR_RETURN(const int64_t few, ContextTokens(server, kFew));
  WINNOW_ASSIGN_OR_RETURN(const int64_t many, ContextTokens(server, kMany));
  return static_cast<double>(std::max<int64_t>(many - few, 1)) / (kMany - kFew);
}

std::array<Policy, 2> ComparedPolicies() {
  Policy razor;
  razor.kind = PolicyKind::kRazor;
  razor.min_length = 0;  // short contexts too, not as full
  return {razor, Policy()};
}

// The first round takes new pages from the system; it does not count.
absl::Status RunRounds(const ServeBenchOptions& options,
                       const std::array<Server, 2>& servers,
                       double tokens_per_word, ServeReport& report) {
  const auto words = static_cast<int64_t>(
      static_cast<double>(options.context_tokens) / tokens_per_word);
  const auto policies = ComparedPolicies();
  std::array<Answers, policies.size()> answers;
  TextRequest request;
  request.text.prompt = "What is it about?";
  request.max_tokens = options.answer_tokens;
  request.ignore_eos = true;
  for (int round = 0; round <= options.rounds; ++round) {
    for (size_t i = 0; i < policies.size(); ++i) {
      const auto seed = static_cast<uint64_t>(round) * policies.size() + i + 1;
      request.text.context = RandomText(words, seed);
      request.policy = policies[i];
      Answers unused;
      WINNOW_RETURN_IF_ERROR(RunRound(options, servers, round, request,
                                      round == 0 ? unused : answers[i]));
    }
  }
  for (size_t i = 0; i < policies.size(); ++i) {
    report.policies.push_back(FiguresOf(policies[i], answers[i]));
  }
  return absl::OkStatus();
}

std::string StoreSize(const ServeBenchOptions& options) {
  return FormatByteSize(options.store_bytes);
}

std::vector<std::string> ServeSettings(const ServeBenchOptions& options) {
  std::vector<std::string> settings = LoadSettings(options.load);
  settings.insert(settings.end(), {"--store-size", StoreSize(options)});
  return settings;
}

}  // namespace

absl::StatusOr<ServeReport> BenchServe(const ServeBenchOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const auto one_folder, SocketFolder::Create());
  WINNOW_ASSIGN_OR_RETURN(const auto split_folder, SocketFolder::Create());
  std::array<Server, 2> servers;
  WINNOW_ASSIGN_OR_RETURN(
      servers[0].deployment,
      Deployment::StartOne(options.model, *one_folder, ServeSettings(options)));
  WINNOW_ASSIGN_OR_RETURN(
      servers[1].deployment,
      Deployment::StartSplit(options.model, *split_folder, StoreSize(options)));
  for (Server& server : servers) {
    server.channel = MakeChannel(server.deployment->address());
  }
  const LoadMeter load([&servers] {
    return servers[0].deployment->CpuTime() + servers[1].deployment->CpuTime();
  });
  ServeReport report;
  report.rounds = options.rounds;
  report.answer_tokens = options.answer_tokens;
  report.store_bytes = options.store_bytes;
  WINNOW_ASSIGN_OR_RETURN(report.one_resident_bytes,
                          servers[0].deployment->ResidentBytes());
  WINNOW_ASSIGN_OR_RETURN(report.split_resident_bytes,
                          servers[1].deployment->ResidentBytes());
  WINNOW_ASSIGN_OR_RETURN(const double tokens_per_word,
                          TokensPerWord(servers[0]));
  WINNOW_RETURN_IF_ERROR(RunRounds(options, servers, tokens_per_word, report));
  if (options.with_load) {
    WINNOW_ASSIGN_OR_RETURN(
        report.load,
        BenchLoad(*servers[0].deployment, options.load, tokens_per_word));
  }
  report.other_cores = load.OtherCores();
  return report;
}

}  // namespace winnow
