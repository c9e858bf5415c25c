#include "services/decode/decode_pipeline.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"
#include "services/common/stage_timer.h"

namespace winnow {

absl::StatusOr<DecodeResult> DecodePipeline::Run(const DecodeRequest& request,
                                                 const Call& call,
                                                 TokenSink sink) {
  WINNOW_RETURN_IF_ERROR(call.Check(*options_.clock));
  WINNOW_RETURN_IF_ERROR(Check(request));
  WINNOW_ASSIGN_OR_RETURN(const LeaseHandle lease, TakeLease(request.manifest));
  DecodeResult result;
  WINNOW_ASSIGN_OR_RETURN(const LoadedSequence loaded,
                          Load(request, lease.id(), result));
  WINNOW_RETURN_IF_ERROR(Generate(request, *loaded.sequence, sink, result));
  return result;
}

absl::StatusOr<std::unique_ptr<DecodePipeline>> DecodePipeline::Create(
    Backend& backend, const Model& model, const CacheIdentity& identity,
    KvStore& store, const DecodeOptions& options) {
  std::unique_ptr<DecodePipeline> pipeline(
      new DecodePipeline(backend, model, identity, store, options));
  WINNOW_ASSIGN_OR_RETURN(pipeline->transformer_,
                          Transformer::Create(backend, model, 1));
  pipeline->logits_.resize(model.config().vocabulary);
  return pipeline;
}

absl::Status DecodePipeline::Check(const DecodeRequest& request) const {
  const Manifest& manifest = request.manifest;
  WINNOW_RETURN_IF_ERROR(ValidateSampling(request.sampling));
  WINNOW_RETURN_IF_ERROR(ValidateManifest(manifest));
  if (manifest.identity != identity_ ||
      manifest.plan.grid != GridOf(model_.config())) {
    return absl::FailedPreconditionError(
        "the manifest is of another model, tokenizer, dtype or tenant; decode "
        "with the model that prefilled it");
  }
  const auto in_vocabulary = [&](int32_t id) {
    return id >= 0 && id < model_.config().vocabulary;
  };
  if (!in_vocabulary(request.first_token) ||
      !std::ranges::all_of(request.forced, in_vocabulary) ||
      !std::ranges::all_of(manifest.recent_ids, in_vocabulary)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a token id is not in the vocabulary of ", model_.config().vocabulary));
  }
  if (!request.forced.empty() &&
      std::ssize(request.forced) != request.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.forced.size(), " forced tokens were given for ",
                     request.max_tokens, " steps"));
  }
  const int64_t limit = model_.config().context_limit;
  if (request.max_tokens < 0 ||
      request.max_tokens > limit - manifest.num_tokens) {
    return absl::OutOfRangeError(absl::StrCat(
        manifest.num_tokens, " tokens are cached and ", request.max_tokens,
        " more were asked for; the model's limit is ", limit));
  }
  return absl::OkStatus();
}

absl::StatusOr<LeaseHandle> DecodePipeline::TakeLease(
    const Manifest& manifest) {
  const auto renewed = store_.Renew(manifest.lease.id, options_.lease_ttl);
  if (renewed.ok()) {
    return LeaseHandle(store_, renewed->id);
  }
  if (!absl::IsNotFound(renewed.status())) {
    return renewed.status();
  }
  std::vector<SegmentKey> keys;
  keys.reserve(manifest.segments.size());
  for (const ManifestSegment& segment : manifest.segments) {
    keys.push_back(segment.key);
  }
  WINNOW_ASSIGN_OR_RETURN(const AcquireResult acquired,
                          store_.Acquire(keys, options_.lease_ttl));
  if (!acquired.complete()) {
    const auto miss = std::ranges::find_if(
        acquired.misses,
        [](MissReason reason) { return reason != MissReason::kNone; });
    return absl::AbortedError(
        absl::StrCat("the store no longer has the context (",
                     Absl(MissReasonName(*miss)), "); prefill it again"));
  }
  return LeaseHandle(store_, acquired.lease.id);
}

absl::StatusOr<LoadedSequence> DecodePipeline::Load(
    const DecodeRequest& request, LeaseId lease, DecodeResult& result) {
  const StageTimer timer(*options_.clock, result.pull);
  WINNOW_ASSIGN_OR_RETURN(
      LoadedSequence loaded,
      LoadSequence(backend_, model_.config(), request.manifest, store_, lease,
                   request.manifest.num_tokens + request.max_tokens));
  result.pulled_bytes = loaded.pulled_bytes;
  return loaded;
}

absl::Status DecodePipeline::Generate(const DecodeRequest& request,
                                      KvSequence& sequence, TokenSink sink,
                                      DecodeResult& result) {
  const StageTimer timer(*options_.clock, result.decode);
  const bool forced = !request.forced.empty();
  Sampler sampler(backend_, request.sampling);
  std::vector<int32_t> previous = request.manifest.recent_ids;
  int32_t id = request.first_token;
  previous.push_back(id);
  for (int64_t i = 0; i < request.max_tokens; ++i) {
    if (!forced && !request.ignore_eos && IsEndOfText(id)) {
      result.finish_reason = FinishReason::kStop;
      return absl::OkStatus();
    }
    WINNOW_ASSIGN_OR_RETURN(
        const TokenChoice choice,
        Step(sequence, id, sampler, previous,
             forced ? std::optional(request.forced[i]) : std::nullopt));
    result.tokens.push_back(choice);
    id = choice.id;
    previous.push_back(id);
    if (!sink(choice)) {
      result.finish_reason = FinishReason::kCancelled;
      return absl::OkStatus();
    }
  }
  const bool ended = !forced && !request.ignore_eos && IsEndOfText(id);
  result.finish_reason = ended ? FinishReason::kStop : FinishReason::kLength;
  return absl::OkStatus();
}

absl::StatusOr<TokenChoice> DecodePipeline::Step(
    KvSequence& sequence, int32_t id, Sampler& sampler,
    std::span<const int32_t> previous, std::optional<int32_t> forced) {
  const SequenceChunk chunk = {.sequence = &sequence, .ids = {&id, 1}};
  WINNOW_RETURN_IF_ERROR(transformer_->Forward({&chunk, 1}));
  WINNOW_RETURN_IF_ERROR(transformer_->Logits(0, 1, logits_.data()));
  return sampler.Choose(logits_, sequence.num_tokens(), previous, forced);
}

bool DecodePipeline::IsEndOfText(int32_t id) const {
  const std::vector<int32_t>& ends = model_.config().end_of_text;
  return std::ranges::find(ends, id) != ends.end();
}

}  // namespace winnow
