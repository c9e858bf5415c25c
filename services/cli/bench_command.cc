#include "services/cli/commands.h"

namespace winnow {

void AddBenchCommand(CLI::App& app, absl::Status& status) {
  (void)app;
  (void)status;
}

}  // namespace winnow
