#include "services/common/client_call.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/common/grpc_status.h"
#include "services/common/retry_hint.h"

namespace winnow {

ClientCalls::ClientCalls(const Clock& clock)
    : clock_(clock), thread_([this] { Poll(); }) {}

ClientCalls::~ClientCalls() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

ClientCalls::Guard ClientCalls::Start(grpc::ClientContext& context,
                                      const Call& call) {
  return {*this, context, call};
}

ClientCalls::Guard::Guard(ClientCalls& calls, grpc::ClientContext& context,
                          const Call& call)
    : calls_(calls) {
  if (!call.request_id.empty()) {
    context.AddMetadata("x-request-id", call.request_id);
  }
  if (call.deadline != absl::InfiniteDuration()) {
    context.set_deadline(absl::ToChronoTime(
        absl::Now() + (call.deadline - calls_.clock_.Monotonic())));
  }
  if (!call.cancelled) {
    return;
  }
  const MutexLock lock(calls_.mutex_);
  place_ = calls_.watched_.insert(calls_.watched_.end(), {&context, &call});
  watched_ = true;
  calls_.changed_.NotifyAll();
}

ClientCalls::Guard::~Guard() {
  if (watched_) {
    const MutexLock lock(calls_.mutex_);
    calls_.watched_.erase(place_);
  }
}

void ClientCalls::Poll() {
  const MutexLock lock(mutex_);
  while (!stopping_) {
    for (const auto& [context, call] : watched_) {
      if (call->cancelled()) {
        context->TryCancel();  // again and again does no harm
      }
    }
    if (watched_.empty()) {
      changed_.Wait(mutex_);
    } else {
      changed_.WaitFor(mutex_, kPollInterval);
    }
  }
}

absl::Status PeerStatus(const grpc::Status& status,
                        const grpc::ClientContext& context,
                        const std::string& peer) {
  absl::Status ours = FromGrpcStatus(status, context);
  if (!absl::IsUnavailable(ours)) {
    return ours;
  }
  absl::Status named = absl::UnavailableError(
      absl::StrCat(peer, " does not answer (", ours.message(),
                   "); see that it runs and is within reach"));
  if (const auto after = RetryHint(ours)) {
    SetRetryHint(named, *after);
  }
  return named;
}

}  // namespace winnow
