#include "tests/services/fault_proxy.h"

#include <algorithm>
#include <cassert>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace winnow {
namespace {

constexpr int kPollMs = 10;
constexpr size_t kPieceBytes = 16 << 10;

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool WriteAll(int to, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (written <= 0) {
      return false;
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

bool Readable(int socket) {
  pollfd waiting = {.fd = socket, .events = POLLIN, .revents = 0};
  return poll(&waiting, 1, kPollMs) > 0;
}

}  // namespace

FaultProxy::FaultProxy(int port) : upstream_port_(port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert(listener_ >= 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  const bool listening = bind(listener_, generic, length) == 0 &&
                         listen(listener_, 16) == 0 &&
                         getsockname(listener_, generic, &length) == 0;
  assert(listening);
  static_cast<void>(listening);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

FaultProxy::~FaultProxy() {
  stopping_ = true;
  acceptor_.join();
  std::vector<std::thread> pumps;
  {
    MutexLock lock(mutex_);
    pumps.swap(pumps_);
  }
  for (std::thread& pump : pumps) {
    pump.join();
  }
  close(listener_);
}

std::string FaultProxy::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void FaultProxy::Inject(const Fault& fault) {
  MutexLock lock(mutex_);
  fault_ = fault;
  fired_ = false;
  passed_[0] = passed_[1] = 0;
}

uint64_t FaultProxy::passed(bool to_client) {
  MutexLock lock(mutex_);
  return passed_[to_client ? 1 : 0];
}

void FaultProxy::Accept() {
  while (!stopping_) {
    if (!Readable(listener_)) {
      continue;
    }
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) {
      continue;
    }
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(upstream_port_);
    if (server < 0 ||
        connect(server, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
      close(client);
      close(server);
      continue;
    }
    // One thread owns both sockets and starts the other direction's.
    MutexLock lock(mutex_);
    pumps_.emplace_back([this, client, server] {
      std::thread back([&] { Pump(server, client, true); });
      Pump(client, server, false);
      back.join();
      close(client);
      close(server);
    });
  }
}

void FaultProxy::Pump(int from, int to, bool to_client) {
  std::vector<char> piece;
  bool open = true;
  while (open && !stopping_) {
    if (!Readable(from)) {
      continue;
    }
    piece.resize(kPieceBytes);
    const ssize_t bytes = recv(from, piece.data(), piece.size(), 0);
    if (bytes <= 0) {
      break;
    }
    piece.resize(static_cast<size_t>(bytes));
    Verdict verdict = Verdict::kHold;
    while ((verdict = Apply(piece, to_client)) == Verdict::kHold &&
           !stopping_) {
      absl::SleepFor(absl::Milliseconds(kPollMs));
    }
    open = WriteAll(to, piece) && verdict == Verdict::kPass;
  }
  shutdown(from, SHUT_RDWR);
  shutdown(to, SHUT_RDWR);
}

FaultProxy::Verdict FaultProxy::Apply(std::vector<char>& piece,
                                      bool to_client) {
  absl::Duration delay;
  Verdict verdict = Verdict::kPass;
  {
    MutexLock lock(mutex_);
    uint64_t& passed = passed_[to_client ? 1 : 0];
    const uint64_t end = passed + piece.size();
    // A swap wants its 16 bytes in one piece: it takes the first that has them.
    if (fault_.kind == Fault::Kind::kSwap && fault_.at >= passed &&
        fault_.at < end && fault_.at + 16 > end) {
      fault_.at = end;
    }
    const bool due =
        fault_.to_client == to_client && fault_.at < end &&
        (fault_.at >= passed || fault_.kind == Fault::Kind::kStall);
    if (due && fault_.kind == Fault::Kind::kStall) {
      fired_ = true;
      return Verdict::kHold;
    }
    if (due && fault_.kind == Fault::Kind::kCut) {
      piece.resize(fault_.at - passed);
      verdict = Verdict::kClose;
    } else if (due) {
      Damage(piece, passed);
      delay = fault_.delay;
    }
    if (due && fault_.kind != Fault::Kind::kNone) {
      fired_ = true;
      fault_.kind = Fault::Kind::kNone;
    }
    passed += piece.size();
  }
  absl::SleepFor(delay);
  return verdict;
}

void FaultProxy::Damage(std::span<char> bytes, uint64_t first) const {
  const std::span<char> rest = bytes.subspan(fault_.at - first);
  if (fault_.kind == Fault::Kind::kFlip) {
    rest[0] ^= 0x04;
  } else if (fault_.kind == Fault::Kind::kSwap) {
    std::swap_ranges(rest.begin(), rest.begin() + 8, rest.begin() + 8);
  }
}

}  // namespace winnow
