#include "services/gateway/generation_service.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/gateway/answer_stream.h"
#include "services/gateway/generation_wire.h"

namespace winnow {
namespace {

constexpr size_t kMaxQuotedName = 64;  // bytes of a caller's text in an error

// Counts a request while it runs, and how it ended.
class RequestCount {
 public:
  explicit RequestCount(GatewayMetrics* metrics) : metrics_(metrics) {
    if (metrics_ != nullptr) {
      metrics_->active_streams.Increment();
    }
  }
  ~RequestCount() {
    if (metrics_ != nullptr) {
      metrics_->active_streams.Decrement();
    }
  }
  RequestCount(const RequestCount&) = delete;
  RequestCount& operator=(const RequestCount&) = delete;

  absl::Status Ended(absl::Status status) const {
    if (metrics_ != nullptr) {
      metrics_->CountRequest(status.code());
    }
    return status;
  }

 private:
  GatewayMetrics* const metrics_;
};

}  // namespace

GenerationServiceImpl::GenerationServiceImpl(const GatewayParts& parts,
                                             const TextLimits& limits)
    : parts_(parts), limits_(limits) {
  if (GatewayMetrics* const metrics = parts.metrics; metrics != nullptr) {
    parts_.roles.on_rebuild = [metrics] {
      metrics->recomputed_prefills.Increment();
    };
  }
}

grpc::Status GenerationServiceImpl::Generate(grpc::ServerContext* context,
                                             const v1::GenerateRequest* request,
                                             Writer* writer) {
  return parts_.frame.Run(*context, "Generate", [&](const Call& call) {
    const RequestCount count(parts_.metrics);
    return count.Ended(Answer(*context, *request, *writer, call));
  });
}

absl::Status GenerationServiceImpl::Answer(grpc::ServerContext& context,
                                           const v1::GenerateRequest& wire,
                                           Writer& writer, const Call& call) {
  const Clock& clock = *parts_.roles.clock;
  const absl::Duration began = clock.Monotonic();
  WINNOW_ASSIGN_OR_RETURN(const TextRequest request, Decode(wire));
  WINNOW_ASSIGN_OR_RETURN(
      const GenerationRequest tokens,
      TokenizeRequest(parts_.model, parts_.tokenizer, request, limits_));
  const absl::Duration tokenize = clock.Monotonic() - began;
  if (parts_.metrics != nullptr) {
    parts_.metrics->tokenize.Observe(absl::ToDoubleSeconds(tokenize));
    parts_.metrics->prompt_tokens.Increment(
        static_cast<double>(tokens.prompt.ids.size()));
  }
  const auto write = [&](const v1::GenerateResponse& response) {
    return parts_.frame.Write(context, writer, response);
  };
  AnswerStream stream({.tokenizer = parts_.tokenizer,
                       .metrics = parts_.metrics,
                       .clock = clock,
                       .began = began},
                      request, write);
  WINNOW_RETURN_IF_ERROR(stream.Accept(Accepted(tokens.prompt, call)));
  auto result = winnow::Generate(
      parts_.roles, tokens, call,
      [&](const TokenChoice& token) { return stream.Take(token); });
  WINNOW_RETURN_IF_ERROR(stream.written());
  WINNOW_RETURN_IF_ERROR(result.status());
  result->tokenize = tokenize;
  return stream.Finish(*result);
}

absl::StatusOr<TextRequest> GenerationServiceImpl::Decode(
    const v1::GenerateRequest& wire) const {
  if (!wire.model().empty() && wire.model() != parts_.model_name) {
    return absl::NotFoundError(absl::StrCat(
        "model \"", absl::CHexEscape(wire.model().substr(0, kMaxQuotedName)),
        "\" is not served here; leave it empty or ask for \"",
        parts_.model_name, "\""));
  }
  WINNOW_ASSIGN_OR_RETURN(TextRequest request, FromWire(wire));
  WINNOW_RETURN_IF_ERROR(CheckTextRequest(request, limits_));
  return request;
}

v1::Accepted GenerationServiceImpl::Accepted(const PromptTokens& prompt,
                                             const Call& call) const {
  v1::Accepted accepted;
  accepted.set_request_id(call.request_id);
  accepted.set_model(parts_.model_name);
  accepted.set_context_tokens(prompt.compact_at);
  accepted.set_prompt_tokens(std::ssize(prompt.ids));
  accepted.set_dropped_bytes(prompt.dropped_bytes);
  return accepted;
}

}  // namespace winnow
