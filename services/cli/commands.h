#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include <CLI/App.hpp>

namespace winnow {

// Each adds one subcommand to `app`.  When the subcommand is parsed, `status`
// gets its outcome; results go to standard output, progress and notes to
// standard error.
void AddGenerateCommand(CLI::App& app, absl::Status& status);
void AddScoreCommand(CLI::App& app, absl::Status& status);
void AddProfileCommand(CLI::App& app, absl::Status& status);
void AddModelsCommand(CLI::App& app, absl::Status& status);
void AddBenchCommand(CLI::App& app, absl::Status& status);
// `arguments` of the program, where "bench" alone stands for "bench engine".
std::vector<std::string> WithDefaultBench(std::vector<std::string> arguments);
void AddConfigCommand(CLI::App& app, absl::Status& status);
// serve, gateway, prefill, store and decode: return when the service has been
// stopped.
void AddServeCommands(CLI::App& app, absl::Status& status);

}  // namespace winnow
