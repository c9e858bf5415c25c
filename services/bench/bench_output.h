#pragma once

#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "services/cli/output.h"
#include <CLI/App.hpp>

namespace winnow {

// Where the figures of a benchmark go, as it stands on the command line.
class BenchOutput {
 public:
  void AddTo(CLI::App& command);
  // Before anything is measured: a run of minutes must not be lost.  NotFound
  // if the file cannot be written.
  absl::Status Open();
  // ResourceExhausted if the file does not take all of it.
  absl::Status Write(const Json& json, const std::string& table);

 private:
  bool json_ = false;
  std::string path_;  // empty: standard output alone
  std::ofstream file_;
};

// Says on the error output what is measured now, if that is a terminal.
void ShowBenchStep(std::string_view text);

// What every benchmark says first: version, date, CPU.
Json RunJson();

// The subcommands of `winnow bench`.
void AddEngineBench(CLI::App& bench, absl::Status& status);
void AddTransferBench(CLI::App& bench, absl::Status& status);
void AddServeBench(CLI::App& bench, absl::Status& status);

}  // namespace winnow
