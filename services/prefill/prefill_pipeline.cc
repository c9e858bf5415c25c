#include "services/prefill/prefill_pipeline.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"
#include "services/common/call_scope.h"
#include "services/common/stage_timer.h"
#include "services/prefill/compaction.h"
#include "services/prefill/prefix_reuse.h"

namespace winnow {

// One request on its way through the stages.
struct PrefillPipeline::Job {
  const PrefillRequest* request = nullptr;
  const Call* call = nullptr;
  Admission::Ticket ticket;  // given back when all else here is gone
  Manifest manifest;
  // Segments [0, num_context_segments) are the context's, then the prompt's.
  size_t num_context_segments = 0;
  std::vector<std::array<uint8_t, 32>> chain_digests;  // of each segment
  ReusedPrefix reused;  // holds what the sequence points into
  std::unique_ptr<KvSequence> sequence;
  std::unique_ptr<ContextWriter> writer;
  PrefillTimes times;
  absl::Duration started;

  std::span<const int32_t> context() const {
    return std::span(request->ids).first(request->compact_at);
  }
  std::span<const int32_t> prompt() const {
    return std::span(request->ids).subspan(request->compact_at);
  }
};

absl::StatusOr<PrefillResult> PrefillPipeline::Run(
    const PrefillRequest& request, const Call& call) {
  const CallScope scope(call);
  WINNOW_RETURN_IF_ERROR(call.Check(*options_.clock));
  WINNOW_RETURN_IF_ERROR(Check(request));
  WINNOW_ASSIGN_OR_RETURN(Job job, Plan(request, call));
  WINNOW_RETURN_IF_ERROR(Admit(job));
  WINNOW_RETURN_IF_ERROR(Reserve(job));
  WINNOW_RETURN_IF_ERROR(Reuse(job));
  WINNOW_RETURN_IF_ERROR(ReadContext(job));
  WINNOW_RETURN_IF_ERROR(CompactContext(job));
  WINNOW_RETURN_IF_ERROR(WriteContext(job));
  WINNOW_RETURN_IF_ERROR(ReadPrompt(job));
  WINNOW_RETURN_IF_ERROR(WritePrompt(job));
  return HandOver(job);
}

absl::StatusOr<std::unique_ptr<PrefillPipeline>> PrefillPipeline::Create(
    Backend& backend, const PrefillModel& model, KvStore& store,
    const PrefillOptions& options) {
  if (options.chunk_tokens < 1 || options.yield_chunk_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunks are of ", options.chunk_tokens, " and ",
        options.yield_chunk_tokens, " tokens; both must be at least 1"));
  }
  std::unique_ptr<PrefillPipeline> pipeline(
      new PrefillPipeline(backend, model, store, options));
  WINNOW_ASSIGN_OR_RETURN(
      pipeline->transformer_,
      Transformer::Create(backend, *model.model, options.chunk_tokens));
  pipeline->logits_.resize(model.model->config().vocabulary);
  return pipeline;
}

PrefillPipeline::PrefillPipeline(Backend& backend, const PrefillModel& model,
                                 KvStore& store, const PrefillOptions& options)
    : model_(model),
      store_(store),
      options_(options),
      compute_{.backend = backend,
               .gate = options.gate != nullptr ? *options.gate : own_gate_,
               .kind = ComputeKind::kPrefill},
      admission_({.places = 1,
                  .max_bytes = 0,
                  .max_queue = options.max_queue,
                  .queue_timeout = options.queue_timeout,
                  .clock = options.clock}) {}

absl::Status PrefillPipeline::Check(const PrefillRequest& request) const {
  const int context_limit = model_.model->config().context_limit;
  const int64_t limit =
      options_.max_tokens > 0
          ? std::min<int64_t>(options_.max_tokens, context_limit)
          : context_limit;
  const int64_t length = std::ssize(request.ids);
  if (length == 0) {
    return absl::InvalidArgumentError(
        "the prompt is empty; give at least one token");
  }
  if (length > limit) {
    return absl::OutOfRangeError(absl::StrCat("the prompt has ", length,
                                              " tokens; the limit is ", limit));
  }
  if (request.compact_at < 1 || request.compact_at > length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "compact_at is ", request.compact_at, "; it must be between 1 and the ",
        length, " tokens of context and prompt"));
  }
  return ValidateSampling(request.sampling);
}

absl::StatusOr<PrefillPipeline::Job> PrefillPipeline::Plan(
    const PrefillRequest& request, const Call& call) const {
  const ModelConfig& config = model_.model->config();
  Job job;
  job.request = &request;
  job.call = &call;
  job.started = options_.clock->Monotonic();
  Manifest& manifest = job.manifest;
  manifest.identity = model_.identity;
  manifest.num_tokens = std::ssize(request.ids);
  manifest.next_position = manifest.num_tokens;
  WINNOW_ASSIGN_OR_RETURN(
      manifest.plan, MakePlan(request.policy, model_.profile, GridOf(config),
                              request.compact_at));
  NameSegments(job.context(), TileOf(config, options_.dtype), manifest,
               job.chain_digests);
  job.num_context_segments =
      std::ranges::count(manifest.segments, true, &ManifestSegment::shared);
  const auto recent =
      std::span(request.ids)
          .last(std::min<size_t>(request.ids.size(), kPenaltyTokens));
  manifest.recent_ids.assign(recent.begin(), recent.end());
  return job;
}

absl::Status PrefillPipeline::Admit(Job& job) {
  const StageTimer timer(*options_.clock, job.times.queue);
  WINNOW_ASSIGN_OR_RETURN(job.ticket, admission_.Enter(0, *job.call));
  return absl::OkStatus();
}

absl::Status PrefillPipeline::Reserve(Job& job) {
  WINNOW_ASSIGN_OR_RETURN(
      job.writer,
      store_.BeginWrite(SegmentSpecs(job.manifest), options_.lease_ttl));
  return absl::OkStatus();
}

absl::Status PrefillPipeline::Reuse(Job& job) {
  const StageTimer timer(*options_.clock, job.times.reuse);
  const ModelConfig& config = model_.model->config();
  WINNOW_ASSIGN_OR_RETURN(
      job.reused, ReusePrefix(compute_, config, job.manifest, job.context(),
                              store_, options_.lease_ttl));
  if (job.reused.num_tokens > 0) {
    job.sequence = std::move(job.reused.loaded.sequence);
    return absl::OkStatus();
  }
  if (options_.on_reuse_miss && job.reused.miss != MissReason::kNone) {
    options_.on_reuse_miss(job.reused.miss);
  }
  WINNOW_ASSIGN_OR_RETURN(
      job.sequence,
      KvSequence::Create(
          compute_.backend,
          SequenceOptions(config, job.manifest.plan, options_.dtype,
                          job.manifest.num_tokens)));
  return absl::OkStatus();
}

absl::Status PrefillPipeline::ReadContext(Job& job) {
  const StageTimer timer(*options_.clock, job.times.context);
  return ReadTokens(job, job.context().subspan(job.reused.num_tokens));
}

absl::Status PrefillPipeline::CompactContext(Job& job) const {
  const StageTimer timer(*options_.clock, job.times.compact);
  return Compact(compute_, job.manifest.plan, *job.sequence);
}

absl::Status PrefillPipeline::WriteContext(Job& job) {
  const StageTimer timer(*options_.clock, job.times.write);
  return WriteSegments(job, 0, job.num_context_segments);
}

absl::Status PrefillPipeline::ReadPrompt(Job& job) {
  const StageTimer timer(*options_.clock, job.times.prompt);
  return ReadTokens(job, job.prompt());
}

absl::Status PrefillPipeline::WritePrompt(Job& job) {
  const StageTimer timer(*options_.clock, job.times.write);
  return WriteSegments(job, job.num_context_segments,
                       job.manifest.segments.size());
}

absl::StatusOr<PrefillResult> PrefillPipeline::HandOver(Job& job) {
  WINNOW_ASSIGN_OR_RETURN(const TokenChoice first, ChooseFirst(job));
  WINNOW_ASSIGN_OR_RETURN(job.manifest.lease, job.writer->Commit());
  job.times.total = options_.clock->Monotonic() - job.started;
  return PrefillResult{.manifest = std::move(job.manifest),
                       .first = first,
                       .reused_tokens = job.reused.num_tokens,
                       .times = job.times};
}

absl::Status PrefillPipeline::ReadTokens(Job& job,
                                         std::span<const int32_t> ids) {
  while (!ids.empty()) {
    WINNOW_RETURN_IF_ERROR(job.call->Check(*options_.clock));
    WINNOW_ASSIGN_OR_RETURN(const size_t count, ReadChunk(job, ids));
    ids = ids.subspan(count);
  }
  return absl::OkStatus();
}

// Reads as many of `ids` as one turn takes; returns how many.
absl::StatusOr<size_t> PrefillPipeline::ReadChunk(
    Job& job, std::span<const int32_t> ids) {
  const ComputeGate::Turn turn = compute_.Enter();
  const int most =
      compute_.gate.decode_active()
          ? std::min(options_.yield_chunk_tokens, options_.chunk_tokens)
          : options_.chunk_tokens;
  const SequenceChunk chunk = {
      .sequence = job.sequence.get(),
      .ids = ids.first(std::min<size_t>(most, ids.size()))};
  WINNOW_RETURN_IF_ERROR(transformer_->Forward({&chunk, 1}));
  if (job.sequence->num_tokens() == job.manifest.num_tokens) {
    const int last = static_cast<int>(chunk.ids.size()) - 1;
    WINNOW_RETURN_IF_ERROR(transformer_->Logits(last, 1, logits_.data()));
  }
  return chunk.ids.size();
}

absl::Status PrefillPipeline::WriteSegments(Job& job, size_t begin,
                                            size_t end) {
  for (size_t i = begin; i < end; ++i) {
    WINNOW_RETURN_IF_ERROR(job.call->Check(*options_.clock));
    const ManifestSegment& segment = job.manifest.segments[i];
    WINNOW_ASSIGN_OR_RETURN(const std::span<std::byte> bytes,
                            job.writer->Allocate(i));
    if (bytes.empty()) {
      continue;  // the store holds it already
    }
    WINNOW_RETURN_IF_ERROR(PackSegment(compute_, *job.sequence,
                                       job.manifest.plan, segment.shape,
                                       bytes.subspan(kSegmentHeaderBytes)));
    SealSegment({.key = segment.key,
                 .chain_digest = job.chain_digests[i],
                 .shape = segment.shape},
                bytes);
    WINNOW_RETURN_IF_ERROR(job.writer->Seal(i));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenChoice> PrefillPipeline::ChooseFirst(const Job& job) {
  const ComputeGate::Turn turn = compute_.Enter();
  Sampler sampler(compute_.backend, job.request->sampling);
  return sampler.Choose(logits_, job.manifest.next_position,
                        job.manifest.recent_ids, job.request->forced_first);
}

}  // namespace winnow
