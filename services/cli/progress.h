#pragma once

#include <string>

namespace winnow {

// What the program is doing, as one line on standard error that the next
// replaces, if that is a terminal; nothing otherwise.  The line is wiped at the
// end, so that results stand alone.
class Progress {
 public:
  Progress();
  ~Progress() { Clear(); }

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Show(const std::string& line);
  void Clear();

 private:
  const bool is_terminal_;
  bool shown_ = false;
};

}  // namespace winnow
