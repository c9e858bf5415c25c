#include "services/bench/bench_ask.h"

#include <array>
#include <random>

#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "gpu/base/clock.h"
#include "services/bench/bench_spread.h"
#include "services/common/client_call.h"
#include "services/gateway/generation_wire.h"
#include "winnow/v1/generation.grpc.pb.h"

namespace winnow {
namespace {

constexpr std::array kWords = {"the",    "river",  "stone", "bright", "carries",
                               "window", "seven",  "over",  "quiet",  "and",
                               "garden", "letter", "north", "of",     "paper",
                               "wheel",  "looks",  "table", "winter", "under",
                               "a",      "bridge", "small", "turns"};

absl::Status Add(const v1::GenerateResponse& response, AskTimes& times) {
  const absl::Duration now = Clock::Real().Monotonic();
  switch (response.event_case()) {
    case v1::GenerateResponse::kAccepted:
      times.accepted = now;
      times.context_tokens = response.accepted().context_tokens();
      return absl::OkStatus();
    case v1::GenerateResponse::kToken:
      times.tokens.push_back(now);
      times.ids.push_back(response.token().id());
      return absl::OkStatus();
    case v1::GenerateResponse::kFinished: {
      absl::StatusOr<GenerationResult> result = FromWire(response.finished());
      if (result.ok()) {
        times.result = *std::move(result);
        return absl::OkStatus();
      }
      return std::move(result).status();
    }
    default:
      return absl::OkStatus();
  }
}

}  // namespace

std::string RandomText(int64_t num_words, uint64_t seed) {
  // The seed in the first words: contexts of other seeds have nothing to reuse.
  std::string text = absl::StrCat("Report ", seed, ":");
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < num_words; ++i) {
    absl::StrAppend(&text, " ", kWords[random() % kWords.size()]);
  }
  return text;
}

absl::Duration AskTimes::InterToken() const {
  std::vector<double> seconds;
  for (size_t i = 1; i < tokens.size(); ++i) {
    seconds.push_back(absl::ToDoubleSeconds(tokens[i] - tokens[i - 1]));
  }
  return absl::Seconds(SpreadOf(std::move(seconds)).median);
}

double AskTimes::TokensPerSecond() const {
  return static_cast<double>(tokens.size() - 1) /
         std::max(absl::ToDoubleSeconds(tokens.back() - tokens.front()), 1e-9);
}

AskTimes Ask(const std::shared_ptr<grpc::Channel>& channel,
             const TextRequest& request, absl::Duration timeout) {
  const auto stub = v1::GenerationService::NewStub(channel);
  v1::GenerateRequest wire;
  ToWire(request, &wire);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  AskTimes times;
  times.started = Clock::Real().Monotonic();
  const auto reader = stub->Generate(&context, wire);
  v1::GenerateResponse response;
  while (times.status.ok() && reader->Read(&response)) {
    times.status = Add(response, times);
  }
  if (!times.status.ok()) {
    context.TryCancel();
  }
  const grpc::Status status = reader->Finish();
  times.finished = Clock::Real().Monotonic();
  if (times.status.ok() && !status.ok()) {
    times.status = PeerStatus(status, context, "the gateway");
  }
  if (times.status.ok() && times.tokens.size() < 2) {
    times.status = absl::InternalError(
        "the gateway gave fewer than two tokens and no error; see its log");
  }
  return times;
}

}  // namespace winnow
