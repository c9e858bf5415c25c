#include "services/bench/bench_batch.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/clock.h"
#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "services/bench/bench_engine.h"
#include "services/bench/bench_machine.h"
#include "services/bench/bench_store.h"
#include "services/common/sequence_loader.h"
#include "services/common/stage_timer.h"
#include "services/decode/sequence_steps.h"
#include "services/decode/step_batcher.h"

namespace winnow {
namespace {

constexpr absl::Duration kLease = absl::Minutes(2);

// All sequences of one policy, and what they took.
struct Batch {
  Policy policy;
  std::vector<DecodeRequest> requests;
  std::vector<double> decode;
  std::vector<double> read;
  std::vector<double> other_cores;
};

// A sequence from its lease to its place in the batch; members end in the
// opposite order.
struct Decoding {
  LeaseHandle lease;
  LoadedSequence loaded;
  std::unique_ptr<SequenceSteps> steps;
  std::unique_ptr<StepBatcher::Member> member;
};

// The engine's backend is free: its own pipelines do nothing meanwhile.
struct Stage {
  Engine& engine;
  const BatchBenchOptions& options;
  ComputeGate gate;
  SharedBackend compute{
      .backend = engine.backend(), .gate = gate, .kind = ComputeKind::kDecode};
  std::unique_ptr<StepBatcher> batcher;

  const ModelConfig& config() const { return engine.model().config(); }
};

absl::Status CheckLength(const Engine& engine,
                         const BatchBenchOptions& options) {
  const int64_t limit = engine.model().config().context_limit;
  if (options.context_tokens + options.steps > limit) {
    return absl::OutOfRangeError(absl::StrCat(
        "a context of ", options.context_tokens, " tokens and ", options.steps,
        " decoded ones are more than the model's limit of ", limit,
        " tokens; give fewer with --batch-context or --decode-tokens"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DecodeRequest> Prefill(Stage& stage, const Policy& policy,
                                      int index) {
  const auto vocabulary = static_cast<uint64_t>(stage.config().vocabulary);
  PrefillRequest request;
  request.policy = policy;
  request.sampling.temperature = 0;
  request.compact_at = stage.options.context_tokens;
  request.ids.resize(static_cast<size_t>(request.compact_at));
  for (size_t i = 0; i < request.ids.size(); ++i) {
    request.ids[i] =
        static_cast<int32_t>(RandomAt(100 + index, i) % vocabulary);
  }
  WINNOW_ASSIGN_OR_RETURN(PrefillResult result,
                          stage.engine.prefill().Run(request, {}));
  WINNOW_RETURN_IF_ERROR(
      stage.engine.store().Release(result.manifest.lease.id));
  return DecodeRequest{.manifest = std::move(result.manifest),
                       .first_token = result.first.id,
                       .max_tokens = stage.options.steps,
                       .sampling = request.sampling,
                       .ignore_eos = true,
                       .forced = {}};
}

absl::StatusOr<LeaseHandle> Lease(KvStore& store, const Manifest& manifest) {
  std::vector<SegmentKey> keys;
  keys.reserve(manifest.segments.size());
  for (const ManifestSegment& segment : manifest.segments) {
    keys.push_back(segment.key);
  }
  WINNOW_ASSIGN_OR_RETURN(const AcquireResult acquired,
                          store.Acquire(keys, kLease));
  if (!acquired.complete()) {
    return absl::ResourceExhaustedError(
        "the store does not hold all sequences' contexts at once; give more "
        "with --store-size, or fewer with --batch-sequences");
  }
  return LeaseHandle(store, acquired.lease.id);
}

absl::StatusOr<Decoding> Load(Stage& stage, const DecodeRequest& request) {
  WINNOW_ASSIGN_OR_RETURN(LeaseHandle lease,
                          Lease(stage.engine.store(), request.manifest));
  WINNOW_ASSIGN_OR_RETURN(
      LoadedSequence loaded,
      LoadSequence(stage.compute, stage.config(), request.manifest,
                   stage.engine.store(), lease.id(),
                   request.manifest.num_tokens + request.max_tokens));
  auto steps = std::make_unique<SequenceSteps>(
      stage.engine.backend(), stage.config(), request, *loaded.sequence);
  return Decoding{.lease = std::move(lease),
                  .loaded = std::move(loaded),
                  .steps = std::move(steps),
                  .member = nullptr};
}

// Takes every sequence's tokens as they come, until all are done.
absl::Status ReadAll(const std::vector<Decoding>& all, int64_t steps) {
  for (int64_t step = 0; step < steps; ++step) {
    for (const Decoding& one : all) {
      WINNOW_ASSIGN_OR_RETURN(const std::optional<TokenChoice> choice,
                              one.member->Next({}, Clock::Real()));
      if (!choice.has_value()) {
        return absl::InternalError(
            "a sequence of the batch ended before its last step; report this "
            "as a bug");
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> DecodeTogether(Stage& stage,
                                              const Batch& batch) {
  std::vector<Decoding> all;
  for (const DecodeRequest& request : batch.requests) {
    WINNOW_ASSIGN_OR_RETURN(Decoding one, Load(stage, request));
    all.push_back(std::move(one));
  }
  std::optional<ComputeGate::Turn> turn(
      stage.gate.Enter(ComputeKind::kPrefill));  // no step before all are there
  for (Decoding& one : all) {
    WINNOW_ASSIGN_OR_RETURN(one.member, stage.batcher->Join(*one.steps));
  }
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    turn.reset();
    WINNOW_RETURN_IF_ERROR(ReadAll(all, stage.options.steps));
  }
  return time;
}

double StepReadBytes(const Stage& stage, const Batch& batch) {
  const Model& model = stage.engine.model();
  const Manifest& manifest = batch.requests.front().manifest;
  const HeadGrid& grid = manifest.plan.grid;
  const uint64_t entry =
      stage.config().KvBytesPerToken(manifest.identity.dtype) / grid.size();
  const auto weights = static_cast<double>(DecodeWeightBytes(model.weights()));
  const double one =
      DecodeReadBytes(model, manifest.plan, entry, stage.options.steps);
  return weights + (one - weights) * static_cast<double>(batch.requests.size());
}

absl::Status Measure(Stage& stage, RoofMeter& roofs, Batch& batch) {
  WaitUntilQuiet(kQuietCores, stage.options.wait_quiet);
  const LoadMeter load;
  WINNOW_ASSIGN_OR_RETURN(const absl::Duration time,
                          DecodeTogether(stage, batch));
  batch.other_cores.push_back(load.OtherCores());
  const auto tokens =
      static_cast<double>(stage.options.steps * stage.options.sequences);
  batch.decode.push_back(tokens / absl::ToDoubleSeconds(time));
  batch.read.push_back(roofs.ReadRate(
      static_cast<size_t>(StepReadBytes(stage, batch)), roofs.num_threads()));
  return absl::OkStatus();
}

BatchFigures Summarise(const Stage& stage, const Batch& batch) {
  const BatchBenchOptions& options = stage.options;
  const StepBatcher::Counts counts = stage.batcher->Snapshot();
  BatchFigures figures = {
      .plan = batch.requests.front().manifest.plan,
      .sequences = options.sequences,
      .context_tokens = options.context_tokens,
      .steps = options.steps,
      .decode_tokens_per_s = SpreadOf(batch.decode),
      .mean_batch = static_cast<double>(counts.step_tokens) /
                    static_cast<double>(counts.steps),
      .step_read_bytes = StepReadBytes(stage, batch),
      .read_bytes_per_s = SpreadOf(batch.read),
      .roof_tokens_per_s = 0,
      .other_cores = SpreadOf(batch.other_cores)};
  figures.roof_tokens_per_s = options.sequences *
                              figures.read_bytes_per_s.median /
                              figures.step_read_bytes;
  return figures;
}

absl::StatusOr<std::vector<Batch>> PrefillAll(Stage& stage) {
  std::vector<Batch> batches;
  for (const Policy& policy : stage.options.policies) {
    Batch& batch = batches.emplace_back();
    batch.policy = policy;
    for (int i = 0; i < stage.options.sequences; ++i) {
      WINNOW_ASSIGN_OR_RETURN(DecodeRequest request, Prefill(stage, policy, i));
      batch.requests.push_back(std::move(request));
    }
  }
  return batches;
}

}  // namespace

absl::StatusOr<std::vector<BatchFigures>> BenchBatch(
    Engine& engine, RoofMeter& roofs, const BatchBenchOptions& options) {
  WINNOW_RETURN_IF_ERROR(CheckLength(engine, options));
  Stage stage{.engine = engine, .options = options, .gate = {}, .batcher = {}};
  WINNOW_ASSIGN_OR_RETURN(
      stage.batcher,
      StepBatcher::Create(stage.compute, engine.model(), options.sequences));
  WINNOW_ASSIGN_OR_RETURN(std::vector<Batch> batches, PrefillAll(stage));
  // Kernels and buffers of this batch size are made by a round that counts not.
  WINNOW_RETURN_IF_ERROR(DecodeTogether(stage, batches.front()).status());
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WINNOW_RETURN_IF_ERROR(roofs.Sample());
    for (Batch& batch : batches) {
      WINNOW_RETURN_IF_ERROR(Measure(stage, roofs, batch));
    }
  }
  std::vector<BatchFigures> figures;
  figures.reserve(batches.size());
  for (const Batch& batch : batches) {
    figures.push_back(Summarise(stage, batch));
  }
  WINNOW_RETURN_IF_ERROR(EmptyStore(engine.store()));
  return figures;
}

}  // namespace winnow
