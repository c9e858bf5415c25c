#include "services/bench/bench_raw_socket.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "gpu/base/clock.h"
#include "gpu/base/status.h"
#include "services/bench/bench_machine.h"
#include "services/common/frame_codec.h"
#include "services/common/stage_timer.h"

namespace winnow {
namespace {

absl::Status NoSocket() {
  return absl::ResourceExhaustedError(
      "the system gives no socket for the raw transfer; raise the limit of "
      "open files, and let this process use the loopback device");
}

// Closes what it has not given away.
class OwnedSocket {
 public:
  explicit OwnedSocket(int socket) : socket_(socket) {}
  ~OwnedSocket() {
    if (socket_ >= 0) {
      close(socket_);
    }
  }
  OwnedSocket(OwnedSocket&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)) {}
  OwnedSocket& operator=(OwnedSocket&&) = delete;
  int get() const { return socket_; }
  int Take() { return std::exchange(socket_, -1); }

 private:
  int socket_;
};

using SocketPair = std::pair<OwnedSocket, OwnedSocket>;

absl::StatusOr<SocketPair> ConnectTcp() {
  OwnedSocket listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  OwnedSocket client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  if (listener.get() < 0 || client.get() < 0 ||
      bind(listener.get(), name, size) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), name, &size) != 0 ||
      connect(client.get(), name, size) != 0) {
    return NoSocket();
  }
  OwnedSocket server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (server.get() < 0) {
    return NoSocket();
  }
  return SocketPair(std::move(client), std::move(server));
}

absl::StatusOr<SocketPair> ConnectPair(SocketKind kind) {
  if (kind == SocketKind::kTcp) {
    return ConnectTcp();
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return NoSocket();
  }
  return SocketPair(OwnedSocket(ends[0]), OwnedSocket(ends[1]));
}

bool ReadFully(int socket, std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t count = recv(socket, to.data(), to.size(), 0);
    if (count <= 0) {
      return false;
    }
    to = to.subspan(static_cast<size_t>(count));
  }
  return true;
}

bool WriteFully(int socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        send(socket, bytes.data(),
             std::min(bytes.size(), RawSender::kPieceBytes), MSG_NOSIGNAL);
    if (count <= 0) {
      return false;
    }
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return true;
}

// The child: system calls alone, for it comes of a program with threads.  The
// source is the parent's, as it was when the child began.
[[noreturn]] void SendUntilClosed(int socket,
                                  std::span<const std::byte> source) {
  uint64_t wanted = 0;
  while (ReadFully(socket, std::as_writable_bytes(std::span(&wanted, 1))) &&
         wanted <= source.size() && WriteFully(socket, source.first(wanted))) {
  }
  _exit(0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RawSender>> RawSender::Start(
    SocketKind kind, std::span<const std::byte> source) {
  WINNOW_ASSIGN_OR_RETURN(SocketPair ends, ConnectPair(kind));
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends.first.get());
    if (getppid() == parent) {
      SendUntilClosed(ends.second.get(), source);
    }
    _exit(0);
  }
  if (pid < 0) {
    return absl::ResourceExhaustedError(
        "cannot start a process; raise the limit of processes");
  }
  const timeval timeout = {.tv_sec = kTimeoutSeconds, .tv_usec = 0};
  setsockopt(ends.first.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout,
             sizeof(timeout));
  return std::unique_ptr<RawSender>(
      new RawSender(ends.first.Take(), pid, source.size()));
}

RawSender::~RawSender() {
  close(socket_);
  kill(pid_, SIGKILL);  // it has nothing to finish
  waitpid(pid_, nullptr, 0);
}

absl::StatusOr<double> RawSender::Receive(std::span<std::byte> to,
                                          bool check) const {
  if (to.size() > most_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat(to.size(), " bytes are asked of a sender of ", most_bytes_,
                     "; start it with a larger source"));
  }
  const uint64_t wanted = to.size();
  uint64_t checksums = 0;
  bool complete = false;
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    complete = WriteFully(socket_, std::as_bytes(std::span(&wanted, 1)));
    for (auto rest = to; complete && !rest.empty();) {
      const auto piece = rest.first(std::min(rest.size(), kMaxFrameBytes));
      complete = ReadFully(socket_, piece);
      checksums ^= check ? FrameChecksum(piece) : 0;
      rest = rest.subspan(piece.size());
    }
  }
  if (!complete) {
    return absl::UnavailableError(
        "the sender of the raw transfer has gone or stands still; run again "
        "when the machine is less busy");
  }
  // Whoever computes it must not leave it out.
  asm volatile("" : : "r"(checksums));
  return static_cast<double>(wanted) /
         std::max(absl::ToDoubleSeconds(time), 1e-9);
}

absl::Duration RawSender::CpuTime() const { return CpuTimeOf(pid_); }

}  // namespace winnow
