#include "services/cli/endpoint.h"

#include <array>
#include <utility>

#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "gpu/base/status.h"
#include "services/common/channel.h"
#include "services/common/client_call.h"
#include "services/common/units.h"
#include "services/gateway/generation_wire.h"
#include "winnow/v1/generation.grpc.pb.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

// What belongs to the engine of this process.
constexpr std::array kLocalOptions = {
    "--model",    "--profile", "--numerics",   "--cpu-level",
    "--kv-dtype", "--threads", "--store-size", "--raw"};

// An answer as its events come in.
class IncomingAnswer {
 public:
  IncomingAnswer(std::string peer, TerminalListener& listener)
      : peer_(std::move(peer)), listener_(listener) {}

  absl::Status Add(const v1::GenerateResponse& response) {
    switch (response.event_case()) {
      case v1::GenerateResponse::kAccepted:
        context_tokens_ = response.accepted().context_tokens();
        listener_.Accepted(response.accepted().prompt_tokens(),
                           response.accepted().dropped_bytes());
        return absl::OkStatus();
      case v1::GenerateResponse::kToken:
        tokens_.push_back(FromWire(response.token()));
        AddText(response.token().text());
        return absl::OkStatus();
      case v1::GenerateResponse::kFinished: {
        WINNOW_ASSIGN_OR_RETURN(answer_.result, FromWire(response.finished()));
        finished_ = true;
        AddText(response.finished().text());
        return absl::OkStatus();
      }
      default:
        return absl::OkStatus();  // of a later version
    }
  }

  absl::StatusOr<Answer> Take() {
    if (!finished_ || tokens_.empty()) {
      return absl::InternalError(
          absl::StrCat(peer_, " ended its answer without finishing it"));
    }
    answer_.result.tokens = std::move(tokens_);
    answer_.result.context_tokens = context_tokens_;
    return std::move(answer_);
  }

 private:
  void AddText(const std::string& text) {
    listener_.Text(text);
    answer_.text += text;
  }

  const std::string peer_;
  TerminalListener& listener_;
  Answer answer_;
  std::vector<TokenChoice> tokens_;
  int64_t context_tokens_ = 0;
  bool finished_ = false;
};

absl::StatusOr<Answer> AskEndpoint(const EndpointFlags& flags,
                                   const TextRequest& request,
                                   TerminalListener& listener) {
  WINNOW_ASSIGN_OR_RETURN(const absl::Duration timeout,
                          ParseDuration(flags.timeout));
  const std::string peer = absl::StrCat("the server at ", flags.endpoint);
  const auto stub = v1::GenerationService::NewStub(MakeChannel(flags.endpoint));
  v1::GenerateRequest wire;
  ToWire(request, &wire);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  listener.Stage(absl::StrCat("Asking ", flags.endpoint, " ..."));
  const auto reader = stub->Generate(&context, wire);
  IncomingAnswer incoming(peer, listener);
  absl::Status understood;
  v1::GenerateResponse response;
  while (understood.ok() && reader->Read(&response)) {
    understood = incoming.Add(response);
  }
  if (!understood.ok()) {
    context.TryCancel();
  }
  const grpc::Status status = reader->Finish();
  WINNOW_RETURN_IF_ERROR(understood);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return absl::DeadlineExceededError(absl::StrCat(
        peer, " did not finish within ", absl::FormatDuration(timeout),
        "; ask for fewer tokens or give more time with --timeout"));
  }
  if (!status.ok()) {
    return PeerStatus(status, context, peer);
  }
  return incoming.Take();
}

}  // namespace

void EndpointFlags::AddTo(CLI::App& command) {
  // Required by itself where this process answers: see Check.
  command.get_option("--model")->required(false);
  command
      .add_option("--endpoint", endpoint,
                  "ask the gateway at this address instead of running a model "
                  "here")
      ->type_name("HOST:PORT");
  command
      .add_option("--timeout", timeout,
                  "with --endpoint: until the answer is complete")
      ->capture_default_str()
      ->type_name("DURATION");
}

absl::Status EndpointFlags::Check(const CLI::App& command) const {
  if (command.count("--endpoint") == 0) {
    if (command.count("--model") == 0) {
      return absl::InvalidArgumentError(
          "--model is required, or --endpoint to ask a running server; see "
          "--help");
    }
    if (command.count("--timeout") > 0) {
      return absl::InvalidArgumentError(
          "--timeout goes with --endpoint; leave it out");
    }
    return absl::OkStatus();
  }
  for (const char* option : kLocalOptions) {
    if (command.count(option) > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          option,
          " is for a model in this process, and --endpoint asks a server, "
          "which has its own; leave one of them out"));
    }
  }
  if (endpoint.empty()) {
    return absl::InvalidArgumentError(
        "--endpoint is empty; give the gateway's address, such as "
        "localhost:7700 or unix:/run/winnow.sock");
  }
  return ParseDuration(timeout).status();
}

absl::StatusOr<std::optional<Policy>> RequestedPolicy(const CLI::App& command,
                                                      const std::string& text) {
  if (command.count("--endpoint") > 0 && command.count("--policy") == 0) {
    return std::nullopt;
  }
  WINNOW_ASSIGN_OR_RETURN(Policy policy, ParsePolicy(text));
  return policy;
}

absl::StatusOr<Answer> FindAnswer(const EndpointFlags& flags,
                                  const ModelFlags& model,
                                  const TextRequest& request,
                                  TerminalListener& listener) {
  return flags.endpoint.empty() ? AnswerHere(model, request, listener)
                                : AskEndpoint(flags, request, listener);
}

}  // namespace winnow
