#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/types.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace winnow {

enum class SocketKind : uint8_t { kUnix, kTcp };

// The roof of every transfer between two processes: a child that writes to a
// socket what it is asked for, in pieces of kPieceBytes, and does nothing
// else.  Over TCP by the loopback device, with the system's buffers.
//
// Not thread-safe.  The child ends with this object, and with the thread that
// started it.
class RawSender {
 public:
  static constexpr size_t kPieceBytes = size_t{512} << 10;

  // What it sends is a copy of `source`, whole or from the start.
  // ResourceExhausted if the system gives no socket or process.
  static absl::StatusOr<std::unique_ptr<RawSender>> Start(
      SocketKind kind, std::span<const std::byte> source);
  ~RawSender();
  RawSender(const RawSender&) = delete;
  RawSender& operator=(const RawSender&) = delete;

  // Fills `to`.  With `check`, the checksum of a frame is computed of every
  // piece as well.  Returns bytes a second.  InvalidArgument if `to` is larger
  // than the source; Unavailable if the child has gone or sends nothing for
  // kTimeoutSeconds.
  absl::StatusOr<double> Receive(std::span<std::byte> to, bool check) const;

  // User and system time of the child.
  absl::Duration CpuTime() const;

  static constexpr int kTimeoutSeconds = 30;

 private:
  RawSender(int socket, pid_t pid, size_t most)
      : socket_(socket), pid_(pid), most_bytes_(most) {}

  const int socket_;
  const pid_t pid_;
  const size_t most_bytes_;
};

}  // namespace winnow
