#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace winnow {

// A folder for sockets, only for this user; goes with all that is in it.
class SocketFolder {
 public:
  // ResourceExhausted if the system's folder for temporary files takes none.
  static absl::StatusOr<std::unique_ptr<SocketFolder>> Create();
  ~SocketFolder();
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;

  // "unix:/.../NAME.sock"
  std::string Address(const std::string& name) const;

 private:
  explicit SocketFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// What the line at a role's start says of its addresses; empty if `log` has no
// complete line of that kind.
std::vector<std::string> ParseReadyLine(const std::string& log);

// A role of this program as a process of its own, which ends with this object,
// and with the thread that started it.  It gets no WINNOW_* of the environment
// but the arguments alone.
//
// Not thread-safe.
class RunningRole {
 public:
  // Runs `winnow ARGUMENTS` and waits, `timeout` at most, until it serves.
  // Unavailable, with the end of its log, if it ends before; DeadlineExceeded.
  static absl::StatusOr<std::unique_ptr<RunningRole>> Start(
      const std::vector<std::string>& arguments, absl::Duration timeout);
  // SIGTERM, and SIGKILL if it does not drain in kDrainTimeout.
  ~RunningRole();
  RunningRole(const RunningRole&) = delete;
  RunningRole& operator=(const RunningRole&) = delete;

  // As it bound them, in the order of --listen.
  const std::vector<std::string>& addresses() const { return addresses_; }
  // Unavailable once it has ended.
  absl::StatusOr<uint64_t> ResidentBytes() const;
  // User and system; zero once it has ended.
  absl::Duration CpuTime() const;

  static constexpr absl::Duration kDrainTimeout = absl::Seconds(10);

 private:
  RunningRole(pid_t pid, int log) : pid_(pid), log_(log) {}
  absl::Status WaitUntilReady(absl::Duration timeout);
  // Waits for its end; returns whether it came.
  bool WaitForEnd(absl::Duration timeout);
  std::string LogText() const;

  pid_t pid_;      // 0: it has ended
  const int log_;  // standard output and standard error
  std::vector<std::string> addresses_;
};

}  // namespace winnow
