#include "services/gateway/generation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

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
  result.kv.full = manifest.num_tokens *
                   roles.config.KvBytesPerToken(manifest.identity.dtype);
  result.kv.stored = manifest.StoredBytes();
  result.context_tokens = manifest.plan.num_tokens;
  result.prompt_tokens = manifest.num_tokens;
  result.prefill = prefill.times;
  result.time_to_first_token = prefill.times.total;
  return result;
}

// The store does not know what its ceiling is called here.
absl::Status NameCeiling(const absl::Status& status) {
  return absl::IsResourceExhausted(status)
             ? absl::ResourceExhaustedError(
                   absl::StrCat(status.message(), " (see --store-size)"))
             : status;
}

absl::StatusOr<GenerationResult> GenerateOnce(const GenerationRoles& roles,
                                              const GenerationRequest& request,
                                              const Call& call,
                                              TokenSink sink) {
  WINNOW_ASSIGN_OR_RETURN(PrefillResult prefill,
                          roles.prefiller.Run(ToPrefill(request), call));
  // Decode takes the lease over and ends it; this ends it if decode never
  // gets that far.
  const LeaseHandle lease(roles.store, prefill.manifest.lease.id);
  GenerationResult result = Summarise(roles, prefill);
  if (!sink(prefill.first)) {
    result.finish_reason = FinishReason::kCancelled;
    return result;
  }
  WINNOW_ASSIGN_OR_RETURN(
      const DecodeResult decode,
      roles.decoder.Run(
          ToDecode(request, std::move(prefill.manifest), prefill.first), call,
          sink));
  result.tokens.insert(result.tokens.end(), decode.tokens.begin(),
                       decode.tokens.end());
  result.finish_reason = decode.finish_reason;
  result.kv.pulled = decode.pulled_bytes;
  result.decode = decode.decode;
  return result;
}

}  // namespace

absl::StatusOr<GenerationResult> Generate(const GenerationRoles& roles,
                                          const GenerationRequest& request,
                                          const Call& call, TokenSink sink) {
  if (request.max_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens is ", request.max_tokens, "; it must be at least 1"));
  }
  const int64_t limit = roles.config.context_limit;
  // The last token is not fed back, so it needs no place.
  const int64_t room = limit - std::ssize(request.prompt.ids) + 1;
  if (request.max_tokens > room) {
    return absl::OutOfRangeError(absl::StrCat(
        "the prompt has ", request.prompt.ids.size(), " tokens and ",
        request.max_tokens, " more were asked for; the model's limit is ",
        limit, " tokens; shorten the prompt or lower max_tokens"));
  }
  for (int attempt = 1;; ++attempt) {
    bool started = false;
    auto result =
        GenerateOnce(roles, request, call, [&](const TokenChoice& choice) {
          // A second attempt chooses the same first token again.
          const bool repeated = attempt > 1 && !started;
          started = true;
          return repeated || sink(choice);
        });
    if (result.ok()) {
      return result;
    }
    if (!absl::IsAborted(result.status()) || attempt == kMaxPrefills) {
      return NameCeiling(result.status());
    }
  }
}

}  // namespace winnow
