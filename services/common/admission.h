#pragma once

#include <cstdint>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"
#include "services/common/call.h"

namespace winnow {

struct AdmissionOptions {
  int places = 1;          // that may be taken at once, >= 1
  uint64_t max_bytes = 0;  // that may be taken at once; 0: no limit
  int max_queue = 64;      // that may wait; 0: none waits
  absl::Duration queue_timeout = absl::Seconds(30);
  const Clock* clock = &Clock::Real();
};

// Gives out places and bytes before anything is computed or allocated.
//
// Who finds no room waits in one line, first come first served: a large
// request at its head is not overtaken by small ones behind it.  A refusal for
// want of room now carries a retry hint (retry_hint.h).
//
// Thread-safe.
class Admission {
 public:
  // One place and some bytes, given back on destruction.  The admission
  // outlives it.
  class [[nodiscard]] Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept { Swap(other); }
    Ticket& operator=(Ticket&& other) noexcept {
      Ticket moved(std::move(other));
      Swap(moved);
      return *this;
    }
    ~Ticket() {
      if (admission_ != nullptr) {
        admission_->GiveBack(bytes_, since_);
      }
    }

   private:
    friend class Admission;
    Ticket(Admission& admission, uint64_t bytes, absl::Duration since)
        : admission_(&admission), bytes_(bytes), since_(since) {}
    void Swap(Ticket& other) noexcept {
      std::swap(admission_, other.admission_);
      std::swap(bytes_, other.bytes_);
      std::swap(since_, other.since_);
    }

    Admission* admission_ = nullptr;
    uint64_t bytes_ = 0;
    absl::Duration since_;
  };

  struct Counts {
    int running = 0;  // tickets out
    int queued = 0;
    uint64_t bytes_in_use = 0;
  };

  explicit Admission(const AdmissionOptions& options) : options_(options) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // Takes a place and `bytes`, waiting for them if need be.
  //
  // Errors:
  //   RESOURCE_EXHAUSTED  more bytes than there can ever be (no hint), a full
  //                       queue, or queue_timeout has passed.
  //   CANCELLED, DEADLINE_EXCEEDED  as the call says, within 50 ms.
  absl::StatusOr<Ticket> Enter(uint64_t bytes, const Call& call)
      ABSL_LOCKS_EXCLUDED(mutex_);

  Counts Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiter {
    uint64_t bytes = 0;
    bool admitted = false;
    CondVar changed;
  };

  absl::StatusOr<Ticket> Wait(Waiter& waiter, const Call& call)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(uint64_t bytes, absl::Duration since)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool Fits(uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Take(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AdmitWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Refusal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const AdmissionOptions options_;
  mutable Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_in_use_ ABSL_GUARDED_BY(mutex_) = 0;
  // How long a ticket was held of late.
  absl::Duration mean_hold_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiter*> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace winnow
