#include "services/common/listen_address.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/setting_value.h"

namespace winnow {
namespace {

class Socket {
 public:
  explicit Socket(int family)
      : descriptor_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

// A sockaddr of either family.
struct SocketAddress {
  sockaddr_storage bytes = {};
  socklen_t size = 0;
  int family = AF_UNSPEC;
  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&bytes);
  }
};

SocketAddress ToSocketAddress(const ListenAddress& address) {
  SocketAddress result;
  if (address.is_unix()) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address.path.data(),
                std::min(address.path.size(), sizeof(name.sun_path) - 1));
    std::memcpy(&result.bytes, &name, sizeof(name));
    result.size = sizeof(name);
    result.family = AF_UNIX;
    return result;
  }
  sockaddr_in v4 = {};
  sockaddr_in6 v6 = {};
  if (::inet_pton(AF_INET, address.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(address.port));
    std::memcpy(&result.bytes, &v4, sizeof(v4));
    result.size = sizeof(v4);
  } else if (::inet_pton(AF_INET6, address.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(address.port));
    std::memcpy(&result.bytes, &v6, sizeof(v6));
    result.size = sizeof(v6);
  }
  result.family = result.bytes.ss_family;
  return result;
}

absl::Status CannotListen(const ListenAddress& address, int error) {
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot listen on ", address.ToString(), ": ",
      std::generic_category().message(error),
      error == EADDRINUSE
          ? "; stop the server that has it or choose another --listen"
          : "; choose another --listen"));
}

}  // namespace

bool ListenAddress::is_loopback() const {
  if (is_unix()) {
    return true;
  }
  in_addr v4 = {};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == 127;
  }
  in6_addr v6 = {};
  return ::inet_pton(AF_INET6, host.c_str(), &v6) == 1 &&
         IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string ListenAddress::ToString() const {
  if (is_unix()) {
    return absl::StrCat("unix:", path);
  }
  return !absl::StrContains(host, ':') ? absl::StrCat(host, ":", port)
                                       : absl::StrCat("[", host, "]:", port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  WINNOW_RETURN_IF_ERROR(CheckAddress(text, /*any_port=*/true));
  ListenAddress address;
  if (text.starts_with("unix:")) {
    address.path = text.substr(5);
    if (absl::StrContains(address.path, '\0')) {
      return absl::InvalidArgumentError(
          "the path of a socket has a zero byte; leave it out");
    }
    return address;
  }
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[')) {
    host = host.substr(1, host.size() - 2);
  }
  address.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  if (!absl::SimpleAtoi(Absl(text.substr(colon + 1)), &address.port) ||
      ToSocketAddress(address).size == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot listen on ", Absl(text),
        ": names are not looked up; write an IP address, localhost, or "
        "unix:/PATH"));
  }
  return address;
}

absl::Status CheckExposure(const ListenAddress& address, bool insecure_listen) {
  if (insecure_listen || address.is_loopback()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      address.ToString(),
      " can be reached from other machines, and this version has no TLS: "
      "listen on 127.0.0.1, [::1] or unix:/PATH, or add --insecure-listen if "
      "the network is trusted"));
}

absl::Status ClaimSocketPath(const ListenAddress& address) {
  if (!address.is_unix()) {
    return absl::OkStatus();
  }
  struct stat found = {};
  if (::lstat(address.path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus() : CannotListen(address, errno);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", address.ToString(),
                     ": that file is not a socket; choose another path"));
  }
  if (AcceptsConnections(address)) {
    return CannotListen(address, EADDRINUSE);
  }
  return ::unlink(address.path.c_str()) == 0 || errno == ENOENT
             ? absl::OkStatus()
             : CannotListen(address, errno);
}

bool AcceptsConnections(const ListenAddress& address) {
  const SocketAddress name = ToSocketAddress(address);
  const Socket socket(name.family);
  // Whatever is not a refusal may be a server that is busy.
  return socket.get() < 0 ||
         ::connect(socket.get(), name.get(), name.size) == 0 ||
         errno != ECONNREFUSED;
}

absl::Status ProbeBind(const ListenAddress& address) {
  if (address.is_unix()) {
    const std::string folder =
        address.path.substr(0, std::max<size_t>(address.path.rfind('/'), 1));
    return ::access(folder.c_str(), W_OK | X_OK) == 0
               ? absl::OkStatus()
               : CannotListen(address, errno);
  }
  const SocketAddress name = ToSocketAddress(address);
  const Socket socket(name.family);
  const int on = 1;  // as gRPC: connections that linger do not matter
  if (socket.get() < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) !=
          0 ||
      ::bind(socket.get(), name.get(), name.size) != 0 ||
      ::listen(socket.get(), 1) != 0) {
    return CannotListen(address, errno);
  }
  return absl::OkStatus();
}

}  // namespace winnow
