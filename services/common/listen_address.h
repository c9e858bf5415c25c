#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace winnow {

// A place to listen on.
struct ListenAddress {
  std::string host;  // literal IP; empty for a UNIX socket
  int port = 0;      // 0: any free one
  std::string path;  // absolute; empty for TCP

  bool is_unix() const { return !path.empty(); }
  bool is_loopback() const;  // a UNIX socket is
  // "127.0.0.1:7700", "[::1]:7700" or "unix:/run/winnow.sock".
  std::string ToString() const;
};

// Reads "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH".  The host is a literal
// address or "localhost", which is 127.0.0.1.  InvalidArgument otherwise.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// InvalidArgument unless only this machine can reach the address or
// `insecure_listen` is set: there is no encryption in this version.
absl::Status CheckExposure(const ListenAddress& address, bool insecure_listen);

// Makes room for a UNIX socket: removes one whose server is gone.
// FailedPrecondition if a server still answers there, or if the path is
// something else than a socket.  Nothing to do for TCP.
absl::Status ClaimSocketPath(const ListenAddress& address);

// Whether somebody accepts connections there.
bool AcceptsConnections(const ListenAddress& address);

// Why one cannot listen there now, or Ok: tries it.
absl::Status ProbeBind(const ListenAddress& address);

}  // namespace winnow
