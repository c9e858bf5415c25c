#include "services/cli/progress.h"

#include <iostream>

#include <unistd.h>

namespace winnow {
namespace {

constexpr char kWipeLine[] = "\r\x1b[K";  // ECMA-48: erase to the end of line

}  // namespace

Progress::Progress() : is_terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::Show(const std::string& line) {
  if (is_terminal_) {
    std::cerr << kWipeLine << line << std::flush;
    shown_ = true;
  }
}

void Progress::Clear() {
  if (shown_) {
    std::cerr << kWipeLine << std::flush;
    shown_ = false;
  }
}

}  // namespace winnow
