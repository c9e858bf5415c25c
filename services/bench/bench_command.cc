#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/cpu/cpu_count.h"
#include "services/bench/bench_output.h"
#include "services/bench/bench_report.h"
#include "services/cli/commands.h"
#include "services/cli/options.h"
#include "services/common/units.h"

namespace winnow {
namespace {

struct BenchFlags {
  ModelFlags model;
  std::vector<int64_t> contexts = {512, 2048, 4096, 8000};
  std::string policies = "full,razor";
  std::vector<std::string> sections = {"engine", "attention", "store"};
  std::string text_file;
  std::string working_set = "1GiB";
  BenchOutput output;
  int repeats = 5;
  int64_t decode_tokens = 32;
  int wait_quiet_seconds = 0;

  bool Has(std::string_view section) const {
    return std::ranges::find(sections, section) != sections.end();
  }
};

// "full,razor,window=128,streaming": a comma ends a policy unless a parameter
// follows.  Short contexts are measured under razor as well, not as full.
absl::StatusOr<std::vector<Policy>> ParsePolicies(const std::string& list) {
  std::vector<std::string> texts;
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    if (!texts.empty() && absl::StrContains(part, '=')) {
      absl::StrAppend(&texts.back(), ",", part);
    } else {
      texts.emplace_back(part);
    }
  }
  std::vector<Policy> policies;
  for (const std::string& text : texts) {
    WINNOW_ASSIGN_OR_RETURN(Policy policy, ParsePolicy(text));
    if (policy.kind == PolicyKind::kRazor) {
      policy.min_length = 0;
    }
    policies.push_back(policy);
  }
  return policies;
}

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

void Progress(std::string_view text) {
  if (isatty(STDERR_FILENO) != 0) {
    std::cerr << text << " ...\n";
  }
}

absl::Status RunEngineSection(const BenchFlags& flags,
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
  Progress("Prefill and decode");
  WINNOW_ASSIGN_OR_RETURN(report.engine, BenchEngine(engine, roofs, options));
  return absl::OkStatus();
}

absl::Status RunAttentionSection(const BenchFlags& flags, Engine& engine,
                                 RoofMeter& roofs, BenchReport& report) {
  const ModelConfig& config = engine.model().config();
  AttentionBenchOptions options = {
      .head_dim = config.head_dim,
      .groups = {1, 4, 8, 16, config.group()},
      .repeats = flags.repeats,
      .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)};
  std::ranges::sort(options.groups);
  const auto doubles = std::ranges::unique(options.groups);
  options.groups.erase(doubles.begin(), doubles.end());
  Progress("Ragged attention");
  WINNOW_ASSIGN_OR_RETURN(report.attention,
                          BenchAttention(engine.backend(), roofs, options));
  return absl::OkStatus();
}

absl::Status RunStoreSection(const BenchFlags& flags, KvDtype dtype,
                             Engine& engine, RoofMeter& roofs,
                             BenchReport& report) {
  Progress("Store");
  WINNOW_ASSIGN_OR_RETURN(
      report.store,
      BenchStore(engine.store(), roofs,
                 {.shape = FullBlockShape(engine.model().config(), dtype),
                  .repeats = flags.repeats,
                  .wait_quiet = absl::Seconds(flags.wait_quiet_seconds)}));
  return absl::OkStatus();
}

absl::Status RunSections(const BenchFlags& flags, KvDtype dtype,
                         std::vector<Policy> policies, Engine& engine,
                         RoofMeter& roofs, BenchReport& report) {
  if (flags.Has("engine")) {
    const LoadMeter load;
    WINNOW_RETURN_IF_ERROR(
        RunEngineSection(flags, std::move(policies), engine, roofs, report));
    report.section_loads.emplace_back("engine", load.OtherCores());
  }
  if (flags.Has("attention")) {
    const LoadMeter load;
    WINNOW_RETURN_IF_ERROR(RunAttentionSection(flags, engine, roofs, report));
    report.section_loads.emplace_back("attention", load.OtherCores());
  }
  if (flags.Has("store")) {
    const LoadMeter load;
    WINNOW_RETURN_IF_ERROR(
        RunStoreSection(flags, dtype, engine, roofs, report));
    report.section_loads.emplace_back("store", load.OtherCores());
  }
  return absl::OkStatus();
}

// Bytes of a --working-set.
absl::StatusOr<size_t> ParseWorkingSet(const std::string& text) {
  constexpr uint64_t kLeast = uint64_t{1} << 20;
  constexpr uint64_t kMost = uint64_t{1} << 40;
  WINNOW_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(text));
  if (bytes < kLeast || bytes > kMost) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--working-set is ", text, "; it must be between 1MiB and 1TiB"));
  }
  return bytes;
}

void DescribeRun(const BenchFlags& flags, const EngineOptions& options,
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

absl::StatusOr<BenchReport> Measure(const BenchFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const EngineOptions options, flags.model.Parse());
  WINNOW_ASSIGN_OR_RETURN(std::vector<Policy> policies,
                          ParsePolicies(flags.policies));
  WINNOW_ASSIGN_OR_RETURN(const size_t working_set,
                          ParseWorkingSet(flags.working_set));
  const LoadMeter load;
  BenchReport report;
  WINNOW_ASSIGN_OR_RETURN(const auto engine, Engine::Create(options));
  WINNOW_ASSIGN_OR_RETURN(report.memory.resident, MemoryAfterOneToken(*engine));
  DescribeRun(flags, options, *engine, report);
  WINNOW_ASSIGN_OR_RETURN(const auto roofs,
                          RoofMeter::Create(engine->backend(), engine->model(),
                                            report.threads, working_set));
  WINNOW_RETURN_IF_ERROR(RunSections(flags, options.dtype, std::move(policies),
                                     *engine, *roofs, report));
  report.roofs = roofs->Figures();
  report.other_cores = load.OtherCores();
  return report;
}

absl::Status RunBench(BenchFlags& flags) {
  WINNOW_RETURN_IF_ERROR(flags.output.Open());
  WINNOW_ASSIGN_OR_RETURN(const BenchReport report, Measure(flags));
  return flags.output.Write(ReportJson(report), ReportTable(report));
}

void AddMeasurementFlags(CLI::App& command, BenchFlags& flags) {
  constexpr int64_t kMostTokens = int64_t{1} << 24;
  constexpr int kMostRepeats = 1000;
  constexpr int kMostWaitSeconds = 3600;
  command.add_option("--contexts", flags.contexts, "context lengths in tokens")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->capture_default_str();
  command
      .add_option("--policies", flags.policies,
                  "policies to compare, with parameters: full,razor,window=128")
      ->capture_default_str();
  command.add_option("--repeats", flags.repeats, "measurements of each figure")
      ->check(CLI::Range(1, kMostRepeats))
      ->capture_default_str();
  command
      .add_option("--decode-tokens", flags.decode_tokens,
                  "tokens generated after each context")
      ->check(CLI::Range(int64_t{2}, kMostTokens))
      ->capture_default_str();
  command
      .add_option("--sections", flags.sections,
                  "what to measure: engine, attention, store")
      ->delimiter(',')
      ->check(CLI::IsMember({"engine", "attention", "store"}))
      ->capture_default_str();
  command
      .add_option("--text-file", flags.text_file,
                  "contexts from this text; default: random tokens")
      ->type_name("FILE");
  command
      .add_option("--working-set", flags.working_set,
                  "memory that roofs and attention read; more than caches hold")
      ->capture_default_str()
      ->type_name("SIZE");
  command
      .add_option("--wait-quiet", flags.wait_quiet_seconds,
                  "seconds to wait, at most, before each measurement until "
                  "other processes are idle")
      ->check(CLI::Range(0, kMostWaitSeconds))
      ->capture_default_str();
}

void AddEngineBench(CLI::App& bench, absl::Status& status) {
  auto* command = bench.add_subcommand(
      "engine", "Each part of the engine beside the machine's own roof");
  const auto flags = std::make_shared<BenchFlags>();
  flags->model.AddTo(*command);
  AddMeasurementFlags(*command, *flags);
  flags->output.AddTo(*command);
  command->footer(
      "Examples:\n"
      "  winnow bench --model M.gguf\n"
      "  winnow bench --model M.gguf --contexts 4096 --sections engine --json");
  command->callback([flags, &status] { status = RunBench(*flags); });
}

}  // namespace

void AddBenchCommand(CLI::App& app, absl::Status& status) {
  auto* bench = app.add_subcommand(
      "bench", "Measure speed and memory beside the machine's own roofs");
  bench->require_subcommand(1);
  AddEngineBench(*bench, status);
  AddTransferBench(*bench, status);
  AddServeBench(*bench, status);
  bench->footer(
      "Without a command it is engine.\n\n"
      "Examples:\n"
      "  winnow bench --model M.gguf\n"
      "  winnow bench transfer\n"
      "  winnow bench serve --model M.gguf");
}

std::vector<std::string> WithDefaultBench(std::vector<std::string> arguments) {
  if (!arguments.empty() && arguments[0] == "bench" &&
      (arguments.size() == 1 ||
       (arguments[1].starts_with("--") && arguments[1] != "--help"))) {
    arguments.insert(arguments.begin() + 1, "engine");
  }
  return arguments;
}

}  // namespace winnow
