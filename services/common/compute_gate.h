#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "gpu/backend.h"
#include "gpu/base/mutex.h"

namespace winnow {

enum class ComputeKind : uint8_t { kPrefill, kDecode };

// Who computes next where several threads share a backend, which takes one
// caller at a time.
//
// A turn is one piece of work: a chunk of a prefill, a step of a batch.  Turns
// of one kind come in the order in which they were asked for.  Where both
// kinds wait they alternate, so that a decode step waits for one chunk at most
// and a chunk for one step.  Waiting blocks; it has no deadline of its own,
// as the turns before it are bounded: check the call before a turn.
//
// Thread-safe.
class ComputeGate {
 public:
  // The right to compute, until it is destroyed.  The gate outlives it.
  class [[nodiscard]] Turn {
   public:
    explicit Turn(ComputeGate& gate) : gate_(&gate) {}
    Turn(Turn&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (gate_ != nullptr) {
        gate_->Leave();
      }
    }

   private:
    ComputeGate* gate_;
  };

  Turn Enter(ComputeKind kind) ABSL_LOCKS_EXCLUDED(mutex_);

  // How many threads wait for a turn of `kind`.
  int NumWaiting(ComputeKind kind) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Called as a sequence joins and leaves a batch.
  void BeginDecode() { decoding_.fetch_add(1, std::memory_order_relaxed); }
  void EndDecode() { decoding_.fetch_sub(1, std::memory_order_relaxed); }
  // Whether any sequence decodes; prefill then takes shorter turns.
  bool decode_active() const {
    return decoding_.load(std::memory_order_relaxed) > 0;
  }

 private:
  // Those who wait have the numbers [served, next).
  struct Line {
    uint64_t next = 0;
    uint64_t served = 0;
    bool empty() const { return served == next; }
  };

  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsNext(ComputeKind kind, uint64_t number) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  CondVar changed_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  ComputeKind last_ ABSL_GUARDED_BY(mutex_) = ComputeKind::kPrefill;
  std::array<Line, 2> lines_ ABSL_GUARDED_BY(mutex_);  // by kind
  std::atomic<int> decoding_{0};
};

// A backend that others use too, and as whom to wait for it.
struct SharedBackend {
  Backend& backend;
  ComputeGate& gate;
  ComputeKind kind;

  // Taken around every operation besides allocation.
  ComputeGate::Turn Enter() const { return gate.Enter(kind); }
};

}  // namespace winnow
