// winnow: the one binary.  Parses the command line and runs a subcommand.

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "services/cli/commands.h"
#include "services/cli/exit_code.h"
#include "services/cli/nearest_option.h"
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "winnow: " << status.message() << " ["
            << absl::StatusCodeToString(status.code()) << "]\n";
  return ExitCodeOf(status);
}

int Main(int argc, char** argv) {
  CLI::App app("Head-aware KV cache for LLM inference.", "winnow");
  app.set_version_flag("--version", "winnow " WINNOW_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.footer(
      "Exit codes: 0 ok, 1 internal, 2 usage or bad value, 3 not found, "
      "4 too long,\n5 profile or model does not fit, 6 store full, "
      "7 not supported, 8 cache lost.");
  absl::Status status;
  AddGenerateCommand(app, status);
  AddScoreCommand(app, status);
  AddProfileCommand(app, status);
  AddModelsCommand(app, status);
  AddBenchCommand(app, status);
  AddConfigCommand(app, status);
  AddServeCommands(app, status);
  const std::vector<std::string> arguments =
      WithDefaultBench({argv + std::min(argc, 1), argv + argc});
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      return app.exit(error);  // --help, --version
    }
    std::cerr << "winnow: " << ExplainUsage(app, error.what(), arguments)
              << "\n";
    return kExitUsage;
  }
  return status.ok() ? kExitOk : Fail(status);
}

}  // namespace
}  // namespace winnow

// NOLINTNEXTLINE(bugprone-exception-escape): out of memory ends the program.
int main(int argc, char** argv) { return winnow::Main(argc, argv); }
