#include "services/gateway/generation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/call_scope.h"

namespace winnow {
namespace {

PrefillRequest ToPrefill(const GenerationRequest& request) {
  PrefillRequest prefill = {.ids = request.prompt.ids,
                            .compact_at = request.prompt.compact_at,
                            .policy = request.policy,
                            .sampling = request.sampling,
                            .forced_first = std::nullopt};
  if (!request.forced.empty()) {
    prefill.forced_first = request.forced.front();
  }
  return prefill;
}

DecodeRequest ToDecode(const GenerationRequest& request, Manifest manifest,
                       const TokenChoice& first) {
  DecodeRequest decode = {.manifest = std::move(manifest),
                          .first_token = first.id,
                          .max_tokens = request.max_tokens - 1,
                          .sampling = request.sampling,
                          .ignore_eos = request.ignore_eos,
                          .forced = {}};
  if (!request.forced.empty()) {
    decode.forced.assign(request.forced.begin() + 1, request.forced.end());
    // One forced token leaves nothing to force, and nothing to decode.
    decode.ignore_eos = true;
  }
  return decode;
}

GenerationResult Summarise(const GenerationRoles& roles,
                           const PrefillResult& prefill) {
  const Manifest& manifest = prefill.manifest;
  GenerationResult result;
  result.tokens.push_back(prefill.first);
  result.plan = manifest.plan;
  result.policy = UseOf(manifest.plan);
  result.kv.full = manifest.num_tokens *
                   roles.config.KvBytesPerToken(manifest.identity.dtype);
  result.kv.stored = manifest.StoredBytes();
  result.context_tokens = manifest.plan.num_tokens;
  result.prompt_tokens = manifest.num_tokens;
  result.reused_tokens = prefill.reused_tokens;
  result.prefill = prefill.times;
  result.queue = prefill.times.queue;
  return result;
}

void AddDecode(const DecodeResult& decode, absl::Duration took,
               GenerationResult& result) {
  result.tokens.insert(result.tokens.end(), decode.tokens.begin(),
                       decode.tokens.end());
  result.finish_reason = decode.finish_reason;
  result.queue += decode.queue;
  result.pull = decode.pull;
  result.kv.pulled = decode.pulled_bytes;
  result.decode = decode.decode;
  // A decode service that was told to stop does not report any more.
  if (decode.finish_reason == FinishReason::kCancelled &&
      decode.pulled_bytes == 0) {
    result.kv.pulled = result.kv.stored;
    result.decode = took;
  }
}

// What the sink was given so far, over all attempts.
class SentTokens {
 public:
  SentTokens(TokenSink sink, const Clock& clock) : sink_(sink), clock_(clock) {}

  void BeginAttempt() { next_ = 0; }

  // Whether another token is wanted.
  bool Take(const TokenChoice& token) {
    if (next_ < ids_.size()) {
      diverged_ = ids_[next_++] != token.id;
      return !diverged_;
    }
    if (ids_.empty()) {
      first_at_ = clock_.Monotonic();
    }
    ids_.push_back(token.id);
    ++next_;
    ended_ = !sink_(token);
    return !ended_;
  }

  // An attempt gave another token than the one before.
  bool diverged() const { return diverged_; }
  // The sink wants no more.
  bool ended() const { return ended_; }
  absl::Duration first_at() const { return first_at_; }

 private:
  const TokenSink sink_;
  const Clock& clock_;
  std::vector<int32_t> ids_;
  size_t next_ = 0;  // of this attempt
  bool diverged_ = false;
  bool ended_ = false;
  absl::Duration first_at_;
};

// One attempt.  `prefilled` tells whether it came as far as decode.
absl::StatusOr<GenerationResult> GenerateOnce(const GenerationRoles& roles,
                                              const GenerationRequest& request,
                                              const Call& call,
                                              SentTokens& sent,
                                              bool& prefilled) {
  WINNOW_ASSIGN_OR_RETURN(PrefillResult prefill,
                          roles.prefiller.Run(ToPrefill(request), call));
  prefilled = true;
  // Decode takes the lease over and ends it; this ends it if decode never
  // gets that far.
  LeaseHandle lease;
  if (roles.store != nullptr) {
    lease = LeaseHandle(*roles.store, prefill.manifest.lease.id);
  }
  GenerationResult result = Summarise(roles, prefill);
  if (!sent.Take(prefill.first)) {
    result.finish_reason = FinishReason::kCancelled;
    return result;
  }
  const absl::Duration began = roles.clock->Monotonic();
  WINNOW_ASSIGN_OR_RETURN(
      const DecodeResult decode,
      roles.decoder.Run(
          ToDecode(request, std::move(prefill.manifest), prefill.first), call,
          [&](const TokenChoice& token) { return sent.Take(token); }));
  lease.Detach();
  AddDecode(decode, roles.clock->Monotonic() - began, result);
  return result;
}

bool IsLost(const absl::Status& status, bool prefilled) {
  return absl::IsAborted(status) || (prefilled && absl::IsUnavailable(status));
}

}  // namespace

PolicyUse UseOf(const Plan& plan) {
  PolicyUse use = {.policy = plan.policy,
                   .retrieval_heads = plan.NumRetrieval(),
                   .kv_heads = plan.grid.size()};
  if (plan.HasLocalHeads()) {
    use.policy.window = static_cast<int>(plan.window);
  }
  return use;
}

absl::Status CheckLength(const GenerationRequest& request,
                         const ModelConfig& config) {
  if (request.max_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens is ", request.max_tokens, "; it must be at least 1"));
  }
  const int64_t limit = config.context_limit;
  // The last token is not fed back, so it needs no place.
  const int64_t room = limit - std::ssize(request.prompt.ids) + 1;
  if (request.max_tokens > room) {
    return absl::OutOfRangeError(absl::StrCat(
        "the prompt has ", request.prompt.ids.size(), " tokens and ",
        request.max_tokens, " more were asked for; the model's limit is ",
        limit, " tokens; shorten the prompt or lower max_tokens"));
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerationResult> Generate(const GenerationRoles& roles,
                                          const GenerationRequest& request,
                                          const Call& call, TokenSink sink) {
  const CallScope scope(call);
  WINNOW_RETURN_IF_ERROR(CheckLength(request, roles.config));
  const absl::Duration began = roles.clock->Monotonic();
  SentTokens sent(sink, *roles.clock);
  for (int attempt = 1;; ++attempt) {
    bool prefilled = false;
    sent.BeginAttempt();
    auto result = GenerateOnce(roles, request, call, sent, prefilled);
    if (sent.diverged()) {
      return absl::AbortedError(
          "the cache was lost in mid-answer, and built again it gave another "
          "token; ask again");
    }
    if (result.ok()) {
      result->prefills = attempt;
      result->time_to_first_token = sent.first_at() - began;
      result->total = roles.clock->Monotonic() - began;
      return result;
    }
    if (!IsLost(result.status(), prefilled) || sent.ended() ||
        attempt == kMaxPrefills) {
      return result.status();
    }
    WINNOW_RETURN_IF_ERROR(call.Check(*roles.clock));
    if (roles.on_rebuild) {
      roles.on_rebuild();
    }
  }
}

}  // namespace winnow
