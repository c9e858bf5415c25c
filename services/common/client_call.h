#pragma once

#include <list>
#include <string>
#include <thread>

#include <grpcpp/client_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"
#include "services/common/call.h"

namespace winnow {

// What a role does for every call to another role: it passes on the request id
// and the deadline, and cancels the call when nobody waits for it any more.
//
// One thread looks at all calls in flight every kPollInterval; it sleeps while
// there are none.  Thread-safe.
class ClientCalls {
 public:
  static constexpr absl::Duration kPollInterval = absl::Milliseconds(10);

  explicit ClientCalls(const Clock& clock = Clock::Real());
  ~ClientCalls();
  ClientCalls(const ClientCalls&) = delete;
  ClientCalls& operator=(const ClientCalls&) = delete;

  // Watches a call while it lives.  `context` and `call` outlive it.
  class [[nodiscard]] Guard {
   public:
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    friend class ClientCalls;
    Guard(ClientCalls& calls, grpc::ClientContext& context, const Call& call);
    ClientCalls& calls_;
    std::list<std::pair<grpc::ClientContext*, const Call*>>::iterator place_;
    bool watched_ = false;
  };
  Guard Start(grpc::ClientContext& context, const Call& call)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Poll() ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::pair<grpc::ClientContext*, const Call*>> watched_
      ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the others
};

// The status of a finished call to `peer` ("the prefill service at ADDRESS"):
// UNAVAILABLE names the peer and says what to do.
absl::Status PeerStatus(const grpc::Status& status,
                        const grpc::ClientContext& context,
                        const std::string& peer);

}  // namespace winnow
