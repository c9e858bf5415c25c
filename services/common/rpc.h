#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"
#include "services/common/call.h"
#include "services/common/rpc_metrics.h"
#include "services/common/watchdog.h"

namespace winnow {

struct RpcOptions {
  absl::Duration default_deadline = absl::Minutes(5);  // the caller gave none
  absl::Duration max_deadline = absl::Minutes(30);     // more is cut to this
  int max_streams = 256;  // RpcLoad::kStream in flight; more are refused
  absl::Duration write_stall_timeout = absl::Seconds(30);
  absl::Duration retry_hint = absl::Seconds(1);  // of what is refused
};

// Whether an RPC counts against RpcOptions::max_streams.
enum class RpcLoad : uint8_t {
  kStream,  // streams, and whatever computes
  kShort,   // answers at once: release of a lease, statistics
};

// What every RPC of a server shares: request id, deadline, counts, latency,
// log line, status.
//
// - The id is the caller's metadata `x-request-id` if it is valid, else a new
//   one; it goes back as initial metadata.
// - The deadline is the caller's, at most max_deadline from now, or
//   default_deadline.  A handler that does not end by itself is cancelled
//   there by a watchdog; its caller gets DEADLINE_EXCEEDED.
// - Refused before the body runs: UNAVAILABLE while draining,
//   RESOURCE_EXHAUSTED with a retry hint over max_streams.
//
// Thread-safe.  Outlives its calls and scopes, the server included.
class RpcFrame {
 public:
  RpcFrame(const RpcOptions& options, RpcMetrics& metrics,
           const Clock& clock = Clock::Real());
  ~RpcFrame();
  RpcFrame(const RpcFrame&) = delete;
  RpcFrame& operator=(const RpcFrame&) = delete;

  // Runs a synchronous RPC.  `method` is a constant of the code ("Prefill").
  // The context's metadata and status belong to the frame: `body` adds no
  // x-request-id and no retry trailer.
  grpc::Status Run(grpc::ServerContext& context, std::string_view method,
                   absl::FunctionRef<absl::Status(const Call&)> body,
                   RpcLoad load = RpcLoad::kStream);

  // One callback RPC, from Begin to Finish.  Movable, not thread-safe; it is
  // destroyed before its context (in OnDone at the latest).  Destruction
  // without Finish counts CANCELLED.
  class Scope {
   public:
    Scope();
    ~Scope();
    Scope(Scope&& other) noexcept;
    Scope& operator=(Scope&& other) noexcept;

    // Not ok if the RPC was refused: Finish with it and do nothing else.
    const absl::Status& admitted() const;
    // Valid until the scope ends.
    const Call& call() const;
    // Counts, logs, adds the trailer; returns what to give to the reactor's
    // Finish.  Once.
    grpc::Status Finish(const absl::Status& status);

   private:
    friend class RpcFrame;
    struct State;
    explicit Scope(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  Scope Begin(grpc::CallbackServerContext& context, std::string_view method,
              RpcLoad load = RpcLoad::kStream);

  // Writes one message of a synchronous stream.  CANCELLED if the caller has
  // gone, DEADLINE_EXCEEDED if it took longer than write_stall_timeout: the
  // call has been cancelled then.
  template <typename Writer, typename Message>
  absl::Status Write(grpc::ServerContext& context, Writer& writer,
                     const Message& message) {
    Watchdog::Guard guard = GuardWrite(context);
    const bool written = writer.Write(message);
    guard.Reset();
    return WriteStatus(written, guard.fired());
  }

  // The guard alone, for reactors: from StartWrite to OnWriteDone.
  [[nodiscard]] Watchdog::Guard GuardWrite(grpc::ServerContextBase& context) {
    return watchdog_.GuardWrite(context, options_.write_stall_timeout);
  }
  static absl::Status WriteStatus(bool written, bool stalled);

  // Refuses new RPCs from now on with UNAVAILABLE "draining".
  void Drain();
  // Waits until no RPC is in flight; false if `timeout` passed before.
  bool WaitIdle(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  int in_flight() const ABSL_LOCKS_EXCLUDED(mutex_);

  Watchdog& watchdog() { return watchdog_; }

 private:
  std::unique_ptr<Scope::State> Open(grpc::ServerContextBase& context,
                                     std::string_view method, RpcLoad load);
  absl::Status Admit(RpcLoad load) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration Deadline(const grpc::ServerContextBase& context) const;
  absl::Status Close(Scope::State& state, absl::Status status);
  void Leave(RpcLoad load) ABSL_LOCKS_EXCLUDED(mutex_);

  const RpcOptions options_;
  RpcMetrics& metrics_;
  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar idle_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  Watchdog watchdog_;  // last: its thread ends first
};

}  // namespace winnow
