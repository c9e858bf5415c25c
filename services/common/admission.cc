#include "services/common/admission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/retry_hint.h"

namespace winnow {
namespace {

// How long a caller that has gone may keep its place in the queue.
constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

constexpr absl::Duration kShortestHint = absl::Milliseconds(100);
constexpr absl::Duration kLongestHint = absl::Minutes(1);
constexpr double kNewestShare = 0.2;  // of the latest in the mean

}  // namespace

absl::StatusOr<Admission::Ticket> Admission::Enter(uint64_t bytes,
                                                   const Call& call) {
  WINNOW_RETURN_IF_ERROR(call.Check(*options_.clock));
  if (options_.max_bytes > 0 && bytes > options_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the request needs ", bytes, " bytes of memory and the limit is ",
        options_.max_bytes, "; ask for fewer tokens or raise the limit"));
  }
  Waiter waiter;
  waiter.bytes = bytes;
  {
    const MutexLock lock(mutex_);
    if (waiters_.empty() && Fits(bytes)) {
      Take(bytes);
      return Ticket(*this, bytes, options_.clock->Monotonic());
    }
    if (std::ssize(waiters_) >= options_.max_queue) {
      return Refusal();
    }
    waiters_.push_back(&waiter);
  }
  return Wait(waiter, call);
}

absl::StatusOr<Admission::Ticket> Admission::Wait(Waiter& waiter,
                                                  const Call& call) {
  const absl::Duration give_up =
      options_.clock->Monotonic() + options_.queue_timeout;
  while (true) {
    const absl::Status checked = call.Check(*options_.clock);
    const absl::Duration now = options_.clock->Monotonic();
    const MutexLock lock(mutex_);
    if (waiter.admitted) {
      return Ticket(*this, waiter.bytes, now);
    }
    if (!checked.ok() || now >= give_up) {
      waiters_.remove(&waiter);
      AdmitWaiting();  // those behind it may fit
      return checked.ok() ? Refusal() : checked;
    }
    const absl::Duration left = std::min(give_up, call.deadline) - now;
    waiter.changed.WaitFor(mutex_, std::min(kPollInterval, left));
  }
}

Admission::Counts Admission::Snapshot() const {
  const MutexLock lock(mutex_);
  return {.running = running_,
          .queued = static_cast<int>(waiters_.size()),
          .bytes_in_use = bytes_in_use_};
}

void Admission::GiveBack(uint64_t bytes, absl::Duration since) {
  const absl::Duration held = options_.clock->Monotonic() - since;
  const MutexLock lock(mutex_);
  mean_hold_ = mean_hold_ == absl::ZeroDuration()
                   ? held
                   : mean_hold_ + kNewestShare * (held - mean_hold_);
  --running_;
  bytes_in_use_ -= bytes;
  AdmitWaiting();
}

bool Admission::Fits(uint64_t bytes) const {
  return running_ < options_.places &&
         (options_.max_bytes == 0 ||
          bytes <= options_.max_bytes - bytes_in_use_);
}

void Admission::Take(uint64_t bytes) {
  ++running_;
  bytes_in_use_ += bytes;
}

void Admission::AdmitWaiting() {
  while (!waiters_.empty() && Fits(waiters_.front()->bytes)) {
    Waiter& first = *waiters_.front();
    waiters_.pop_front();
    Take(first.bytes);
    first.admitted = true;
    first.changed.NotifyOne();
  }
}

absl::Status Admission::Refusal() const {
  // A place comes free about every mean_hold_ / places.
  const double turns =
      static_cast<double>(waiters_.size() + 1) / options_.places;
  const absl::Duration after =
      std::clamp(turns * mean_hold_, kShortestHint, kLongestHint);
  absl::Status status = absl::ResourceExhaustedError(absl::StrCat(
      "no room: ", running_, " of ", options_.places, " places and ",
      bytes_in_use_, " bytes are taken and ", waiters_.size(),
      " requests wait; retry after ",
      absl::ToInt64Milliseconds(absl::Ceil(after, absl::Milliseconds(1))),
      " ms"));
  SetRetryHint(status, after);
  return status;
}

}  // namespace winnow
