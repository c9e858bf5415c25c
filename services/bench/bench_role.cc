#include "services/bench/bench_role.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/clock.h"
#include "gpu/base/status.h"
#include "services/bench/bench_machine.h"

namespace winnow {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(5);
constexpr size_t kMostLogShown = 1000;

std::string ErrorText() {
  return std::error_code(errno, std::generic_category()).message();
}

// Settings of this process are not meant for its roles.
std::vector<char*> EnvironmentWithoutSettings() {
  std::vector<char*> kept;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!absl::StartsWith(*entry, "WINNOW_")) {
      kept.push_back(*entry);
    }
  }
  kept.push_back(nullptr);
  return kept;
}

// Between fork and exec of a program with threads: system calls alone.
[[noreturn]] void Become(char* const* arguments, char* const* environment,
                         int log, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    _exit(127);  // it has gone before the line above
  }
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) {
    dup2(nothing, STDIN_FILENO);
  }
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& arguments,
                            int log) {
  std::vector<std::string> words = {"winnow"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  const std::vector<char*> environment = EnvironmentWithoutSettings();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    Become(pointers.data(), environment.data(), log, parent);
  }
  if (pid < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start a process: ", ErrorText(),
                     "; raise the limit of processes"));
  }
  return pid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketFolder>> SocketFolder::Create() {
  std::error_code error;
  const auto parent = std::filesystem::temp_directory_path(error);
  std::string path = (parent / "winnow-bench-XXXXXX").string();
  if (error || mkdtemp(path.data()) == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot make a folder ", path, "; set TMPDIR to one with room"));
  }
  return std::unique_ptr<SocketFolder>(new SocketFolder(path));
}

SocketFolder::~SocketFolder() {
  std::error_code error;  // what is left is a few names of sockets
  std::filesystem::remove_all(path_, error);
}

std::string SocketFolder::Address(const std::string& name) const {
  return absl::StrCat("unix:", path_, "/", name, ".sock");
}

std::vector<std::string> ParseReadyLine(const std::string& log) {
  constexpr std::string_view kReady = " ready: grpc ";
  const size_t ready = log.find(kReady);
  const size_t line_end = log.find('\n', std::min(ready, log.size()));
  if (ready == std::string::npos || line_end == std::string::npos) {
    return {};
  }
  const size_t begin = ready + kReady.size();
  const size_t end = std::min(log.find(';', begin), line_end);
  return absl::StrSplit(log.substr(begin, end - begin), ", ");
}

absl::StatusOr<std::unique_ptr<RunningRole>> RunningRole::Start(
    const std::vector<std::string>& arguments, absl::Duration timeout) {
  const int log = memfd_create("winnow-bench-log", MFD_CLOEXEC);
  if (log < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot make a file in memory: ", ErrorText(),
                     "; raise the limit of open files"));
  }
  const absl::StatusOr<pid_t> pid = Spawn(arguments, log);
  if (!pid.ok()) {
    close(log);
    return pid.status();
  }
  auto role = std::unique_ptr<RunningRole>(new RunningRole(*pid, log));
  WINNOW_RETURN_IF_ERROR(role->WaitUntilReady(timeout));
  return role;
}

RunningRole::~RunningRole() {
  if (pid_ != 0) {
    kill(pid_, SIGTERM);
    if (!WaitForEnd(kDrainTimeout)) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  close(log_);
}

absl::Status RunningRole::WaitUntilReady(absl::Duration timeout) {
  const Clock& clock = Clock::Real();
  const absl::Duration end = clock.Monotonic() + timeout;
  while (clock.Monotonic() < end) {
    addresses_ = ParseReadyLine(LogText());
    if (!addresses_.empty()) {
      return absl::OkStatus();
    }
    if (WaitForEnd(kPoll)) {
      const std::string log = LogText();
      return absl::UnavailableError(absl::StrCat(
          "a role ended before it served: ",
          log.substr(log.size() - std::min(log.size(), kMostLogShown))));
    }
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "a role does not serve after ", absl::FormatDuration(timeout),
      "; try a smaller model, or again when the machine is less busy"));
}

bool RunningRole::WaitForEnd(absl::Duration timeout) {
  const Clock& clock = Clock::Real();
  const absl::Duration end = clock.Monotonic() + timeout;
  for (;;) {
    const pid_t ended = waitpid(pid_, nullptr, WNOHANG);
    if (ended == pid_ || (ended < 0 && errno == ECHILD)) {
      pid_ = 0;
      return true;
    }
    if (clock.Monotonic() >= end) {
      return false;
    }
    absl::SleepFor(kPoll);
  }
}

std::string RunningRole::LogText() const {
  std::string text;
  std::array<char, 4096> piece;
  for (ssize_t count = 1; count > 0;) {
    count = pread(log_, piece.data(), piece.size(),
                  static_cast<off_t>(text.size()));
    text.append(piece.data(), static_cast<size_t>(std::max<ssize_t>(0, count)));
  }
  return text;
}

absl::StatusOr<uint64_t> RunningRole::ResidentBytes() const {
  if (pid_ == 0) {
    return absl::UnavailableError("a role has ended while it was measured");
  }
  WINNOW_ASSIGN_OR_RETURN(const ResidentMemory memory,
                          ReadResidentMemory(absl::StrCat(pid_)));
  return memory.total_bytes;
}

absl::Duration RunningRole::CpuTime() const {
  return pid_ == 0 ? absl::ZeroDuration() : CpuTimeOf(pid_);
}

}  // namespace winnow
