#include <string>
#include <vector>

#include "services/bench/bench_output.h"
#include "services/cli/commands.h"

namespace winnow {

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
