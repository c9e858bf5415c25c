#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/common/channel.h"
#include "services/common/rpc.h"

namespace winnow {

struct ServerOptions {
  // "HOST:PORT" with a literal address or localhost, or "unix:/PATH"; port 0
  // takes a free one.
  std::vector<std::string> listen;
  bool insecure_listen = false;      // allows addresses that others can reach
  int max_message_bytes = 64 << 20;  // received
  int max_concurrent_streams = 256;  // of one connection
  // Of synchronous RPCs, each of which has one to itself; without a free one
  // the answer is RESOURCE_EXHAUSTED.  More than the frames' max_streams.
  int max_threads = 320;
  size_t memory_bytes = size_t{1} << 30;  // of the transport; over it
                                          // connections are refused and closed
  Keepalive keepalive = {};
  absl::Duration max_connection_idle = absl::Minutes(10);
  // From NOT_SERVING to refusing: time for balancers to look elsewhere.
  absl::Duration drain_notice = absl::ZeroDuration();
  // The frames of the services, which Drain closes and waits for.  Borrowed;
  // they outlive the server.
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it.
  std::vector<RpcFrame*> frames = {};
};

// A gRPC server without encryption, with health (grpc.health.v1: "" and the
// name of every service) and reflection.  Thread-safe.
class Server {
 public:
  // Listens and serves.  The services outlive the server.
  //
  // InvalidArgument: no address, a malformed one, or one that is neither
  // loopback nor a UNIX socket without insecure_listen.  FailedPrecondition: an
  // address is taken; says which and why.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options, std::span<grpc::Service* const> services);

  // Cancels what still runs.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // As bound, in the order of ServerOptions::listen: "127.0.0.1:41234",
  // "unix:/run/winnow.sock".
  const std::vector<std::string>& addresses() const { return addresses_; }
  // 0 for a UNIX socket.
  const std::vector<int>& ports() const { return ports_; }

  // Ends service in this order: health says NOT_SERVING; drain_notice passes;
  // new RPCs get UNAVAILABLE; RPCs in flight may end within `timeout`; what is
  // left is cancelled; the sockets close.  Blocks until all handlers have
  // returned.  DeadlineExceeded if any had to be cancelled.  Calls after the
  // first wait for it and return Ok.
  absl::Status Drain(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  explicit Server(const ServerOptions& options) : options_(options) {}
  void SetServing(bool serving);

  const ServerOptions options_;
  std::vector<std::string> names_;  // of the services
  std::vector<std::string> addresses_;
  std::vector<int> ports_;
  Mutex mutex_;  // held through Drain
  bool drained_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace winnow
