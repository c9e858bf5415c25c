#include "services/bench/bench_engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "services/bench/bench_store.h"

namespace winnow {
namespace {

// All runs of one context length under one policy.
struct Runs {
  int64_t context_tokens = 0;
  Policy policy;
  GenerationResult last;
  std::vector<double> prefill;
  std::vector<double> decode;
  std::vector<double> first_token_ms;
  std::vector<double> compaction;
  std::vector<double> write;
  std::vector<double> other_cores;
  std::vector<double> read;
};

std::vector<int32_t> ContextIds(const EngineBenchOptions& options,
                                int64_t num_tokens, uint64_t vocabulary) {
  std::vector<int32_t> ids(num_tokens);
  const auto& text = options.text_ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = text.empty() ? static_cast<int32_t>(RandomAt(0, i) % vocabulary)
                          : text[i % text.size()];
  }
  return ids;
}

absl::Status CheckLengths(const Engine& engine,
                          const EngineBenchOptions& options) {
  const int64_t limit = engine.model().config().context_limit;
  for (const int64_t context : options.contexts) {
    if (context + options.decode_tokens - 1 > limit) {
      return absl::OutOfRangeError(absl::StrCat(
          "a context of ", context, " tokens and ", options.decode_tokens,
          " decoded ones are more than the model's limit of ", limit,
          " tokens; give shorter ones with --contexts or --decode-tokens"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerationResult> RunOnce(Engine& engine,
                                         const EngineBenchOptions& options,
                                         int64_t context_tokens,
                                         const Policy& policy) {
  const uint64_t vocabulary = engine.model().config().vocabulary;
  GenerationRequest request = {.prompt = {},
                               .policy = policy,
                               .sampling = {},
                               .max_tokens = options.decode_tokens,
                               .ignore_eos = true,
                               .forced = {}};
  request.sampling.temperature = 0;
  request.prompt.ids = ContextIds(options, context_tokens, vocabulary);
  request.prompt.compact_at = context_tokens;
  WINNOW_ASSIGN_OR_RETURN(GenerationResult result,
                          Generate(engine.roles(), request, {},
                                   [](const TokenChoice&) { return true; }));
  WINNOW_RETURN_IF_ERROR(EmptyStore(engine.store()));
  return result;
}

uint64_t BytesPerEntry(const Model& model, const GenerationResult& result) {
  const ModelConfig& config = model.config();
  return result.kv.full / result.prompt_tokens / config.num_layers /
         config.num_kv_heads;
}

absl::Status Measure(Engine& engine, RoofMeter& roofs,
                     const EngineBenchOptions& options, Runs& runs) {
  WaitUntilQuiet(kQuietCores, options.wait_quiet);
  const LoadMeter load;
  WINNOW_ASSIGN_OR_RETURN(
      runs.last, RunOnce(engine, options, runs.context_tokens, runs.policy));
  runs.other_cores.push_back(load.OtherCores());
  const GenerationResult& result = runs.last;
  const double total = absl::ToDoubleSeconds(result.prefill.total);
  const auto steps = static_cast<double>(result.tokens.size() - 1);
  runs.prefill.push_back(static_cast<double>(result.context_tokens) / total);
  runs.decode.push_back(steps / absl::ToDoubleSeconds(result.decode));
  runs.first_token_ms.push_back(
      absl::ToDoubleMilliseconds(result.time_to_first_token));
  runs.compaction.push_back(absl::ToDoubleSeconds(result.prefill.compact) /
                            total);
  runs.write.push_back(absl::ToDoubleSeconds(result.prefill.write) / total);
  const double read_bytes = DecodeReadBytes(
      engine.model(), result.plan, BytesPerEntry(engine.model(), result),
      options.decode_tokens);
  runs.read.push_back(
      roofs.ReadRate(static_cast<size_t>(read_bytes), roofs.num_threads()));
  return absl::OkStatus();
}

EngineFigures Summarise(const Engine& engine, const EngineBenchOptions& options,
                        const Runs& runs) {
  const GenerationResult& result = runs.last;
  return {.context_tokens = runs.context_tokens,
          .plan = result.plan,
          .prefill_tokens_per_s = SpreadOf(runs.prefill),
          .decode_tokens_per_s = SpreadOf(runs.decode),
          .time_to_first_token_ms = SpreadOf(runs.first_token_ms),
          .compaction_share = SpreadOf(runs.compaction),
          .write_share = SpreadOf(runs.write),
          .other_cores = SpreadOf(runs.other_cores),
          .kv = result.kv,
          .decode_read_bytes = DecodeReadBytes(
              engine.model(), result.plan,
              BytesPerEntry(engine.model(), result), options.decode_tokens),
          .decode_read_bytes_per_s = SpreadOf(runs.read),
          .prefill_operations =
              PrefillOperations(engine.model(), runs.context_tokens)};
}

// Roofs hold for all rounds: they are known at the end only.
void SetRoofs(const RoofFigures& roofs, EngineFigures& figures) {
  figures.prefill_roof_tokens_per_s =
      static_cast<double>(figures.context_tokens) *
      roofs.gemm_flops_per_s.median / figures.prefill_operations;
  figures.decode_roof_tokens_per_s =
      figures.decode_read_bytes_per_s.median / figures.decode_read_bytes;
}

}  // namespace

double PrefillOperations(const Model& model, int64_t num_tokens) {
  const ModelConfig& config = model.config();
  const auto tokens = static_cast<double>(num_tokens);
  const double pairs = tokens * (tokens + 1) / 2;  // a query and what it sees
  const double attention =
      4.0 * config.head_dim * config.num_heads * config.num_layers * pairs;
  return LinearOperations(model.weights()) * tokens + attention;
}

double DecodeReadBytes(const Model& model, const Plan& plan,
                       uint64_t bytes_per_entry, int64_t num_steps) {
  const int64_t position = plan.num_tokens + num_steps / 2;
  int64_t entries = int64_t{plan.NumRetrieval()} * position;
  if (plan.HasLocalHeads()) {
    const int64_t begin = VisibleBegin(plan, position);
    const int64_t seen = begin > 0 ? plan.sinks + (position - begin) : position;
    entries += (plan.grid.size() - plan.NumRetrieval()) * seen;
  }
  return static_cast<double>(DecodeWeightBytes(model.weights())) +
         static_cast<double>(entries) * static_cast<double>(bytes_per_entry);
}

absl::StatusOr<ResidentMemory> MemoryAfterOneToken(Engine& engine) {
  EngineBenchOptions options;
  options.decode_tokens = 2;  // a step of prefill and one of decode
  WINNOW_RETURN_IF_ERROR(RunOnce(engine, options, 1, Policy{}).status());
  return ReadResidentMemory();
}

absl::StatusOr<std::vector<EngineFigures>> BenchEngine(
    Engine& engine, RoofMeter& roofs, const EngineBenchOptions& options) {
  WINNOW_RETURN_IF_ERROR(CheckLengths(engine, options));
  std::vector<Runs> all;
  for (const int64_t context : options.contexts) {
    for (const Policy& policy : options.policies) {
      Runs& runs = all.emplace_back();
      runs.context_tokens = context;
      runs.policy = policy;
    }
  }
  // Threads, kernels and page tables are made by a first run that counts not.
  WINNOW_RETURN_IF_ERROR(
      RunOnce(engine, options, std::ranges::min(options.contexts), Policy{})
          .status());
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WaitUntilQuiet(kQuietCores, options.wait_quiet);
    WINNOW_RETURN_IF_ERROR(roofs.Sample());
    for (Runs& runs : all) {
      WINNOW_RETURN_IF_ERROR(Measure(engine, roofs, options, runs));
    }
  }
  std::vector<EngineFigures> figures;
  for (const Runs& runs : all) {
    figures.push_back(Summarise(engine, options, runs));
    SetRoofs(roofs.Figures(), figures.back());
  }
  return figures;
}

}  // namespace winnow
