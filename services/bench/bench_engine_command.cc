// `winnow bench engine`.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "gpu/base/status.h"
#include "gpu/cpu/cpu_count.h"
#include "services/bench/bench_engine_flags.h"
#include "services/bench/bench_output.h"
#include "services/bench/bench_report.h"

namespace winnow {
namespace {

// Of a file, or of all files of a folder.
uint64_t FileBytes(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const uintmax_t bytes = fs::file_size(path, error);
    return error ? 0 : bytes;
  }
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors") {
      bytes += entry.file_size(error);
    }
  }
  return bytes;
}

absl::Status RunEngineSection(const EngineBenchFlags& flags,
                              std::vector<Policy> policies, Engine& engine,
                              RoofMeter& roofs, BenchReport& report) {
  EngineBenchOptions options = {
      .contexts = flags.contexts,
      .policies = std::move(policies),
      .repeats = flags.repeats,
      .decode_tokens = flags.decode_tokens,
      .text_ids = {},
      .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)};
  if (!flags.text_file.empty()) {
    constexpr size_t kMostBytes = size_t{64} << 20;
    WINNOW_ASSIGN_OR_RETURN(const std::string text,
                            ReadTextFile(flags.text_file, kMostBytes));
    WINNOW_ASSIGN_OR_RETURN(
        TokenizedText tokens,
        engine.tokenizer().Encode(text, SpecialTokens::kAsText));
    if (tokens.ids.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flags.text_file, " has no tokens; give a longer text"));
    }
    options.text_ids = std::move(tokens.ids);
  }
  ShowBenchStep("Prefill and decode");
  WINNOW_ASSIGN_OR_RETURN(report.engine, BenchEngine(engine, roofs, options));
  return absl::OkStatus();
}

absl::Status RunBatchSection(const EngineBenchFlags& flags,
                             const std::vector<Policy>& policies,
                             Engine& engine, RoofMeter& roofs,
                             BenchReport& report) {
  ShowBenchStep("Several sequences at once");
  WINNOW_ASSIGN_OR_RETURN(
      report.batch,
      BenchBatch(engine, roofs,
                 {.policies = policies,
                  .sequences = flags.batch_sequences,
                  .context_tokens = flags.batch_context,
                  .steps = flags.decode_tokens - 1,
                  .repeats = flags.repeats,
                  .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)}));
  return absl::OkStatus();
}

absl::Status RunAttentionSection(const EngineBenchFlags& flags, Engine& engine,
                                 RoofMeter& roofs, BenchReport& report) {
  const ModelConfig& config = engine.model().config();
  AttentionBenchOptions options = {
      .head_dim = config.head_dim,
      .groups = {1, 2, 4, 8, 16, config.group()},
      .repeats = flags.repeats,
      .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)};
  std::ranges::sort(options.groups);
  const auto doubles = std::ranges::unique(options.groups);
  options.groups.erase(doubles.begin(), doubles.end());
  ShowBenchStep("Ragged attention");
  WINNOW_ASSIGN_OR_RETURN(report.attention,
                          BenchAttention(engine.backend(), roofs, options));
  return absl::OkStatus();
}

absl::Status RunStoreSection(const EngineBenchFlags& flags, KvDtype dtype,
                             Engine& engine, RoofMeter& roofs,
                             BenchReport& report) {
  ShowBenchStep("Store");
  WINNOW_ASSIGN_OR_RETURN(
      report.store,
      BenchStore(engine.store(), roofs,
                 {.shape = FullBlockShape(engine.model().config(), dtype),
                  .repeats = flags.repeats,
                  .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)}));
  return absl::OkStatus();
}

// Runs a section if it was asked for, and says who else was busy meanwhile.
template <typename Section>
absl::Status RunSection(const EngineBenchFlags& flags, const char* name,
                        BenchReport& report, const Section& section) {
  if (!flags.Has(name)) {
    return absl::OkStatus();
  }
  const LoadMeter load;
  WINNOW_RETURN_IF_ERROR(section());
  report.section_loads.emplace_back(name, load.OtherCores());
  return absl::OkStatus();
}

absl::Status RunSections(const EngineBenchFlags& flags, KvDtype dtype,
                         const std::vector<Policy>& policies, Engine& engine,
                         RoofMeter& roofs, BenchReport& report) {
  WINNOW_RETURN_IF_ERROR(RunSection(flags, "engine", report, [&] {
    return RunEngineSection(flags, policies, engine, roofs, report);
  }));
  WINNOW_RETURN_IF_ERROR(RunSection(flags, "batch", report, [&] {
    return RunBatchSection(flags, policies, engine, roofs, report);
  }));
  WINNOW_RETURN_IF_ERROR(RunSection(flags, "attention", report, [&] {
    return RunAttentionSection(flags, engine, roofs, report);
  }));
  return RunSection(flags, "store", report, [&] {
    return RunStoreSection(flags, dtype, engine, roofs, report);
  });
}

void DescribeRun(const EngineBenchFlags& flags, const EngineOptions& options,
                 Engine& engine, BenchReport& report) {
  report.version = WINNOW_VERSION;
  report.date = absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone());
  report.cpu = CpuModelName();
  report.backend = engine.backend().name();
  report.threads =
      options.num_threads > 0 ? options.num_threads : UsableCpuCount();
  report.repeats = flags.repeats;
  report.model = engine.model().config().name;
  report.memory.model_file_bytes = FileBytes(options.model_path);
  report.memory.store_capacity_bytes = options.store_bytes;
}

absl::StatusOr<BenchReport> Measure(const EngineBenchFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const EngineOptions options, flags.model.Parse());
  WINNOW_ASSIGN_OR_RETURN(const std::vector<Policy> policies,
                          flags.ParsePolicies());
  WINNOW_ASSIGN_OR_RETURN(const size_t working_set, flags.ParseWorkingSet());
  const LoadMeter load;
  BenchReport report;
  WINNOW_ASSIGN_OR_RETURN(const auto engine, Engine::Create(options));
  WINNOW_ASSIGN_OR_RETURN(report.memory.resident, MemoryAfterOneToken(*engine));
  DescribeRun(flags, options, *engine, report);
  WINNOW_ASSIGN_OR_RETURN(const auto roofs,
                          RoofMeter::Create(engine->backend(), engine->model(),
                                            report.threads, working_set));
  WINNOW_RETURN_IF_ERROR(
      RunSections(flags, options.dtype, policies, *engine, *roofs, report));
  report.roofs = roofs->Figures();
  report.other_cores = load.OtherCores();
  return report;
}

absl::Status RunBench(EngineBenchFlags& flags) {
  WINNOW_RETURN_IF_ERROR(flags.output.Open());
  WINNOW_ASSIGN_OR_RETURN(const BenchReport report, Measure(flags));
  return flags.output.Write(ReportJson(report), ReportTable(report));
}

}  // namespace

void AddEngineBench(CLI::App& bench, absl::Status& status) {
  auto* command = bench.add_subcommand(
      "engine", "Each part of the engine beside the machine's own roof");
  const auto flags = std::make_shared<EngineBenchFlags>();
  flags->AddTo(*command);
  command->footer(
      "Examples:\n"
      "  winnow bench --model M.gguf\n"
      "  winnow bench --model M.gguf --contexts 4096 --sections engine --json\n"
      "  winnow bench --model M.gguf --sections batch --store-size 2GiB");
  command->callback([flags, &status] { status = RunBench(*flags); });
}

}  // namespace winnow
