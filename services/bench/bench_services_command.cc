// `winnow bench transfer` and `winnow bench serve`.
#include <filesystem>
#include <memory>

#include <sys/resource.h>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/cpu/cpu_count.h"
#include "services/bench/bench_output.h"
#include "services/bench/bench_serve.h"
#include "services/bench/bench_services_report.h"
#include "services/bench/bench_transfer.h"
#include "services/common/allocator.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

struct ServicesFlags {
  std::string model;          // of serve
  bool answers_only = false;  // likewise
  BenchOutput output;
  int rounds = 5;
  int wait_quiet_seconds = 0;
  bool quick = false;

  void AddTo(CLI::App& command) {
    constexpr int kMostRounds = 1000;
    constexpr int kMostWaitSeconds = 3600;
    command.add_option("--rounds", rounds, "measurements of each figure")
        ->check(CLI::Range(1, kMostRounds))
        ->capture_default_str();
    command.add_flag("--quick", quick,
                     "small sizes: shows that it works, not how fast");
    command
        .add_option("--wait-quiet", wait_quiet_seconds,
                    "seconds to wait, at most, before each measurement until "
                    "other processes are idle")
        ->check(CLI::Range(0, kMostWaitSeconds))
        ->capture_default_str();
    output.AddTo(command);
  }
};

absl::Status RunTransfer(ServicesFlags& flags) {
  KeepLargeBlocks();  // as a decode role does
  WINNOW_RETURN_IF_ERROR(flags.output.Open());
  TransferBenchOptions options;
  options.repeats = flags.rounds;
  options.wait_quiet = absl::Seconds(flags.wait_quiet_seconds);
  if (flags.quick) {
    options.context_bytes = {size_t{2} << 20, size_t{8} << 20};
  }
  ShowBenchStep("Transfer between two processes");
  WINNOW_ASSIGN_OR_RETURN(const TransferReport report, BenchTransfer(options));
  Json json = RunJson();
  json["quick"] = flags.quick;
  json.update(TransferJson(report));
  return flags.output.Write(json, TransferTable(report));
}

ServeBenchOptions ServeOptions(const ServicesFlags& flags) {
  ServeBenchOptions options;
  options.model = flags.model;
  options.rounds = flags.rounds;
  options.wait_quiet = absl::Seconds(flags.wait_quiet_seconds);
  options.with_load = !flags.answers_only;
  if (flags.quick) {
    options.context_tokens = 300;
    options.answer_tokens = 4;
    options.load = {.rounds = 1,
                    .streams = 2,
                    .context_tokens = 100,
                    .answer_tokens = 4,
                    .idle_connections = 20,
                    .held_streams = 10,
                    .held_answer_tokens = 4};
  }
  return options;
}

// Each connection is an open file, here and in the server, which inherits the
// limit.
absl::Status AllowOpenFiles(int connections) {
  constexpr rlim_t kSpare = 256;
  const rlim_t wanted = static_cast<rlim_t>(connections) + kSpare;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) {
    return absl::OkStatus();
  }
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (limit.rlim_cur < wanted || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the benchmark needs ", wanted, " open files and the limit is ",
        limit.rlim_max, "; raise it (ulimit -n), or give --quick"));
  }
  return absl::OkStatus();
}

absl::Status RunServe(ServicesFlags& flags) {
  WINNOW_RETURN_IF_ERROR(flags.output.Open());
  const ServeBenchOptions options = ServeOptions(flags);
  if (options.with_load) {
    WINNOW_RETURN_IF_ERROR(AllowOpenFiles(options.load.idle_connections));
  }
  ShowBenchStep("One process against one for each role");
  WINNOW_ASSIGN_OR_RETURN(const ServeReport report, BenchServe(options));
  Json json = RunJson();
  json["quick"] = flags.quick;
  json["model"] = std::filesystem::path(flags.model).filename().string();
  json["cores"] = UsableCpuCount();
  json.update(ServeJson(report));
  return flags.output.Write(json, ServeTable(report));
}

}  // namespace

void AddTransferBench(CLI::App& bench, absl::Status& status) {
  auto* command = bench.add_subcommand(
      "transfer", "A store in a process of its own against a plain socket");
  const auto flags = std::make_shared<ServicesFlags>();
  flags->AddTo(*command);
  command->footer(
      "Example:\n  winnow bench transfer --rounds 5 --json > transfer.json");
  command->callback([flags, &status] { status = RunTransfer(*flags); });
}

void AddServeBench(CLI::App& bench, absl::Status& status) {
  auto* command = bench.add_subcommand(
      "serve",
      "A process for each role against one for all; streams, connections");
  const auto flags = std::make_shared<ServicesFlags>();
  command->add_option("--model", flags->model, "GGUF file or folder")
      ->required()
      ->type_name("PATH");
  command->add_flag("--answers-only", flags->answers_only,
                    "single answers alone: no streams, no connections");
  flags->AddTo(*command);
  command->footer("Example:\n  winnow bench serve --model M.gguf --rounds 5");
  command->callback([flags, &status] { status = RunServe(*flags); });
}

}  // namespace winnow
