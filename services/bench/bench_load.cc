#include "services/bench/bench_load.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include <grpcpp/create_channel.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "gpu/base/status.h"
#include "services/bench/bench_ask.h"
#include "services/common/channel.h"

namespace winnow {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(10);
constexpr absl::Duration kConnectTimeout = absl::Minutes(1);
constexpr absl::Duration kSettle = absl::Seconds(1);
constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr int kSpareStreams = 16;
constexpr uint64_t kSeed = 1'000'000;  // contexts of no other section

using Channel = std::shared_ptr<grpc::Channel>;

// Channels of equal arguments share one connection; this one has its own.
Channel OwnConnection(const std::string& address) {
  grpc::ChannelArguments arguments;
  ForEachTransportArgument({},
                           [&arguments](const std::string& name, int value) {
                             arguments.SetInt(name, value);
                           });
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::vector<Channel> OwnConnections(const std::string& address, int count) {
  std::vector<Channel> channels(static_cast<size_t>(count));
  std::ranges::generate(channels, [&] { return OwnConnection(address); });
  return channels;
}

// All requests at once, each over its own channel; `meanwhile` is called until
// they have ended.
template <typename Body>
std::vector<AskTimes> AskAll(const std::vector<Channel>& channels,
                             const std::vector<TextRequest>& requests,
                             const Body& meanwhile) {
  std::vector<AskTimes> times(requests.size());
  std::atomic<size_t> running = requests.size();
  std::vector<std::thread> threads;
  threads.reserve(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] {
      times[i] = Ask(channels[i], requests[i], kTimeout);
      --running;
    });
  }
  while (running > 0) {
    meanwhile();
    absl::SleepFor(kPoll);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return times;
}

double Milliseconds(absl::Duration time) {
  return absl::ToDoubleMilliseconds(time);
}

// Tokens a second of several answers, from the first token of all to the last.
double TogetherRate(const std::vector<AskTimes>& answers) {
  absl::Duration first = absl::InfiniteDuration();
  absl::Duration last = -absl::InfiniteDuration();
  size_t tokens = 0;
  for (const AskTimes& answer : answers) {
    if (!answer.tokens.empty()) {
      first = std::min(first, answer.tokens.front());
      last = std::max(last, answer.tokens.back());
      tokens += answer.tokens.size();
    }
  }
  return tokens < 2 ? 0
                    : static_cast<double>(tokens - 1) /
                          std::max(absl::ToDoubleSeconds(last - first), 1e-9);
}

// Most calls that were between acceptance and end at the same time.
int MostTogether(const std::vector<AskTimes>& answers) {
  std::vector<std::pair<absl::Duration, int>> changes;
  for (const AskTimes& answer : answers) {
    if (answer.accepted != absl::ZeroDuration()) {
      changes.emplace_back(answer.accepted, 1);
      changes.emplace_back(answer.finished, -1);
    }
  }
  std::ranges::sort(changes);
  int now = 0;
  int most = 0;
  for (const auto& [time, change] : changes) {
    now += change;
    most = std::max(most, now);
  }
  return most;
}

absl::StatusOr<StreamFigures> BenchStreams(const std::string& address,
                                           const LoadBenchOptions& options,
                                           double tokens_per_word) {
  const auto words = static_cast<int64_t>(
      static_cast<double>(options.context_tokens) / tokens_per_word);
  Policy policy;
  policy.kind = PolicyKind::kRazor;
  policy.min_length = 0;
  const auto channels = OwnConnections(address, options.streams);
  std::vector<TextRequest> requests(channels.size());
  StreamFigures figures;
  figures.streams = options.streams;
  figures.answer_tokens = options.answer_tokens;
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].text.context = RandomText(words, kSeed + i);
    requests[i].text.prompt = "Go on.";
    requests[i].policy = policy;
    requests[i].ignore_eos = true;
    requests[i].max_tokens = 2;
    const AskTimes written = Ask(channels[i], requests[i], kTimeout);
    WINNOW_RETURN_IF_ERROR(written.status);
    figures.context_tokens = written.context_tokens;
    requests[i].max_tokens = options.answer_tokens;
  }
  std::vector<double> one, each, together, ratio, one_first, each_first;
  for (int round = 0; round < options.rounds; ++round) {
    const size_t index = static_cast<size_t>(round) % requests.size();
    const AskTimes single = Ask(channels[index], requests[index], kTimeout);
    WINNOW_RETURN_IF_ERROR(single.status);
    const auto all = AskAll(channels, requests, [] {});
    for (const AskTimes& answer : all) {
      WINNOW_RETURN_IF_ERROR(answer.status);
      each.push_back(answer.TokensPerSecond());
      each_first.push_back(Milliseconds(answer.FirstToken()));
    }
    one.push_back(single.TokensPerSecond());
    one_first.push_back(Milliseconds(single.FirstToken()));
    together.push_back(TogetherRate(all));
    ratio.push_back(together.back() / one.back());
  }
  figures.one_tokens_per_s = SpreadOf(one);
  figures.each_tokens_per_s = SpreadOf(each);
  figures.together_tokens_per_s = SpreadOf(together);
  figures.together_ratio = SpreadOf(ratio);
  figures.one_first_token_ms = SpreadOf(one_first);
  figures.each_first_token_ms = SpreadOf(each_first);
  return figures;
}

TextRequest ShortRequest(int64_t max_tokens, uint64_t seed) {
  constexpr int64_t kWords = 30;
  TextRequest request;
  request.text.prompt = RandomText(kWords, seed);
  request.policy = Policy();
  request.ignore_eos = true;
  request.max_tokens = max_tokens;
  return request;
}

// Opens connections that stay; all of them, or Unavailable.
absl::StatusOr<std::vector<Channel>> Connect(const std::string& address,
                                             int count) {
  auto channels = OwnConnections(address, count);
  for (const Channel& channel : channels) {
    channel->GetState(/*try_to_connect=*/true);
  }
  const auto deadline = absl::ToChronoTime(absl::Now() + kConnectTimeout);
  const auto connected =
      std::ranges::count_if(channels, [&deadline](const Channel& channel) {
        return channel->WaitForConnected(deadline);
      });
  if (connected < count) {
    return absl::UnavailableError(absl::StrCat(
        "only ", connected, " of ", count,
        " connections came about; raise the limit of open files (ulimit -n)"));
  }
  return channels;
}

absl::StatusOr<IdleFigures> BenchIdle(const Deployment& deployment,
                                      const LoadBenchOptions& options) {
  const std::string& address = deployment.address();
  const int count = options.idle_connections;
  IdleFigures figures;
  figures.connections = count;
  WINNOW_ASSIGN_OR_RETURN(figures.resident_before_bytes,
                          deployment.ResidentBytes());
  {
    WINNOW_ASSIGN_OR_RETURN(const auto channels, Connect(address, count));
    const AskTimes beside =
        Ask(OwnConnection(address), ShortRequest(2, kSeed), kTimeout);
    WINNOW_RETURN_IF_ERROR(beside.status);
    figures.first_token_ms = Milliseconds(beside.FirstToken());
    WINNOW_ASSIGN_OR_RETURN(figures.resident_during_bytes,
                            deployment.ResidentBytes());
  }
  absl::SleepFor(kSettle);
  WINNOW_ASSIGN_OR_RETURN(figures.resident_after_bytes,
                          deployment.ResidentBytes());
  WINNOW_ASSIGN_OR_RETURN(const auto channels, Connect(address, count));
  WINNOW_ASSIGN_OR_RETURN(figures.resident_again_bytes,
                          deployment.ResidentBytes());
  return figures;
}

absl::StatusOr<HeldFigures> BenchHeld(const Deployment& deployment,
                                      const LoadBenchOptions& options) {
  HeldFigures figures;
  figures.streams = options.held_streams;
  WINNOW_ASSIGN_OR_RETURN(figures.resident_before_bytes,
                          deployment.ResidentBytes());
  const auto channels =
      OwnConnections(deployment.address(), options.held_streams);
  std::vector<TextRequest> requests;
  requests.reserve(channels.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    requests.push_back(ShortRequest(options.held_answer_tokens, kSeed + i));
  }
  const auto sample = [&deployment, &figures] {
    figures.resident_peak_bytes = std::max(
        figures.resident_peak_bytes, deployment.ResidentBytes().value_or(0));
  };
  const std::vector<AskTimes> answers = AskAll(channels, requests, sample);
  absl::Duration started = absl::InfiniteDuration();
  absl::Duration finished = -absl::InfiniteDuration();
  std::vector<double> first_token;
  for (const AskTimes& answer : answers) {
    started = std::min(started, answer.started);
    finished = std::max(finished, answer.finished);
    if (answer.status.ok()) {
      ++figures.completed;
      first_token.push_back(Milliseconds(answer.FirstToken()));
    } else {
      ++figures.refused[absl::StatusCodeToString(answer.status.code())];
    }
  }
  figures.accepted_together = MostTogether(answers);
  figures.seconds = absl::ToDoubleSeconds(finished - started);
  figures.tokens_per_s = TogetherRate(answers);
  figures.first_token_ms =
      first_token.empty() ? Spread{} : SpreadOf(std::move(first_token));
  absl::SleepFor(kSettle);
  WINNOW_ASSIGN_OR_RETURN(figures.resident_after_bytes,
                          deployment.ResidentBytes());
  return figures;
}

}  // namespace

std::vector<std::string> LoadSettings(const LoadBenchOptions& options) {
  const int streams = std::max(options.held_streams, options.streams);
  return {"--max-streams",   absl::StrCat(streams + kSpareStreams),
          "--max-queue",     absl::StrCat(streams),
          "--queue-timeout", absl::FormatDuration(kTimeout / 2)};
}

absl::StatusOr<LoadFigures> BenchLoad(const Deployment& deployment,
                                      const LoadBenchOptions& options,
                                      double tokens_per_word) {
  LoadFigures figures;
  WINNOW_ASSIGN_OR_RETURN(
      figures.streams,
      BenchStreams(deployment.address(), options, tokens_per_word));
  WINNOW_ASSIGN_OR_RETURN(figures.idle, BenchIdle(deployment, options));
  WINNOW_ASSIGN_OR_RETURN(figures.held, BenchHeld(deployment, options));
  return figures;
}

}  // namespace winnow
