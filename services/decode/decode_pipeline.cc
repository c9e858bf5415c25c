#include "services/decode/decode_pipeline.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"
#include "services/common/call_scope.h"
#include "services/common/miss_status.h"
#include "services/common/stage_timer.h"
#include "services/decode/sequence_memory.h"

namespace winnow {
namespace {

// Batches beyond this are a mistake in the configuration.
constexpr int kMaxSequences = 1024;

}  // namespace

absl::StatusOr<DecodeResult> DecodePipeline::Run(const DecodeRequest& request,
                                                 const Call& call,
                                                 TokenSink sink) {
  const CallScope scope(call);
  WINNOW_RETURN_IF_ERROR(call.Check(*options_.clock));
  WINNOW_RETURN_IF_ERROR(Check(request));
  DecodeResult result;
  WINNOW_ASSIGN_OR_RETURN(const LeaseHandle lease, TakeLease(request.manifest));
  WINNOW_ASSIGN_OR_RETURN(const Admission::Ticket ticket,
                          Admit(request, call, result));
  WINNOW_ASSIGN_OR_RETURN(const LoadedSequence loaded,
                          Load(request, lease.id(), result));
  WINNOW_RETURN_IF_ERROR(
      Generate(request, call, *loaded.sequence, sink, result));
  return result;
}

absl::StatusOr<std::unique_ptr<DecodePipeline>> DecodePipeline::Create(
    Backend& backend, const Model& model, const CacheIdentity& identity,
    KvStore& store, const DecodeOptions& options) {
  if (options.max_sequences < 1 || options.max_sequences > kMaxSequences) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_sequences is ", options.max_sequences,
                     "; it must be between 1 and ", kMaxSequences));
  }
  std::unique_ptr<DecodePipeline> pipeline(
      new DecodePipeline(backend, model, identity, store, options));
  WINNOW_ASSIGN_OR_RETURN(
      pipeline->batcher_,
      StepBatcher::Create(pipeline->compute_, model, options.max_sequences));
  return pipeline;
}

DecodePipeline::DecodePipeline(Backend& backend, const Model& model,
                               const CacheIdentity& identity, KvStore& store,
                               const DecodeOptions& options)
    : model_(model),
      identity_(identity),
      store_(store),
      options_(options),
      compute_{.backend = backend,
               .gate = options.gate != nullptr ? *options.gate : own_gate_,
               .kind = ComputeKind::kDecode},
      admission_({.places = options.max_sequences,
                  .max_bytes = options.memory_bytes,
                  .max_queue = options.max_queue,
                  .queue_timeout = options.queue_timeout,
                  .clock = options.clock}) {}

DecodeCounts DecodePipeline::Snapshot() const {
  const Admission::Counts admitted = admission_.Snapshot();
  const StepBatcher::Counts batch = batcher_->Snapshot();
  return {.running = admitted.running,
          .queued = admitted.queued,
          .reserved_bytes = admitted.bytes_in_use,
          .batch_size = batch.batch_size,
          .steps = batch.steps,
          .step_tokens = batch.step_tokens};
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
        "an id of first_token, forced or manifest.recent_ids is not in the "
        "vocabulary of ",
        model_.config().vocabulary));
  }
  if (!request.forced.empty() &&
      std::ssize(request.forced) != request.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.forced.size(), " forced tokens were given for ",
                     request.max_tokens, " steps"));
  }
  if (request.max_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens is ", request.max_tokens, "; it must be at least 0"));
  }
  const int64_t limit = model_.config().context_limit;
  if (request.max_tokens > limit - manifest.num_tokens) {
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
    return MissStatus(FirstMiss(acquired.misses), "the context");
  }
  return LeaseHandle(store_, acquired.lease.id);
}

absl::StatusOr<Admission::Ticket> DecodePipeline::Admit(
    const DecodeRequest& request, const Call& call, DecodeResult& result) {
  const StageTimer timer(*options_.clock, result.queue);
  const KvTileShape tile =
      TileOf(model_.config(), request.manifest.identity.dtype);
  return admission_.Enter(
      DecodeMemoryBytes(request.manifest, tile, request.max_tokens), call);
}

absl::StatusOr<LoadedSequence> DecodePipeline::Load(
    const DecodeRequest& request, LeaseId lease, DecodeResult& result) {
  const StageTimer timer(*options_.clock, result.pull);
  WINNOW_ASSIGN_OR_RETURN(
      LoadedSequence loaded,
      LoadSequence(compute_, model_.config(), request.manifest, store_, lease,
                   request.manifest.num_tokens + request.max_tokens));
  result.pulled_bytes = loaded.pulled_bytes;
  return loaded;
}

absl::Status DecodePipeline::Generate(const DecodeRequest& request,
                                      const Call& call, KvSequence& sequence,
                                      TokenSink sink, DecodeResult& result) {
  const StageTimer timer(*options_.clock, result.decode);
  SequenceSteps steps(compute_.backend, model_.config(), request, sequence);
  WINNOW_ASSIGN_OR_RETURN(const auto member, batcher_->Join(steps));
  while (true) {
    WINNOW_ASSIGN_OR_RETURN(const std::optional<TokenChoice> choice,
                            member->Next(call, *options_.clock));
    if (!choice.has_value()) {
      result.finish_reason = steps.finish_reason();
      return absl::OkStatus();
    }
    result.tokens.push_back(*choice);
    WINNOW_ASSIGN_OR_RETURN(const bool wanted, Pass(*choice, sink));
    if (!wanted) {
      result.finish_reason = FinishReason::kCancelled;
      return absl::OkStatus();
    }
  }
}

// Gives a token to the sink; returns whether it wants another.
absl::StatusOr<bool> DecodePipeline::Pass(const TokenChoice& choice,
                                          TokenSink sink) const {
  const absl::Duration began = options_.clock->Monotonic();
  const bool wanted = sink(choice);
  const absl::Duration stalled = options_.clock->Monotonic() - began;
  if (stalled > options_.stall_timeout) {
    return absl::DeadlineExceededError(absl::StrCat(
        "a token was not taken for ", absl::ToInt64Milliseconds(stalled),
        " ms; the limit is ", absl::ToInt64Milliseconds(options_.stall_timeout),
        " ms; read the stream faster"));
  }
  return wanted;
}

}  // namespace winnow
