#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include <grpcpp/server_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"

namespace winnow {

// Ends what overstays: one thread that runs an action for every guard that is
// still alive at its time.
//
// It is what cancels an RPC whose handler sits in a blocking call and cannot
// look at a clock.  Thread-safe.  Outlives its guards.
class Watchdog {
 public:
  // Ends a watch when it goes out of scope.  Its destructor waits for an
  // action that is running, so what the action borrows may end with it.
  // Movable; not thread-safe.
  class Guard {
   public:
    Guard() = default;
    ~Guard() { Reset(); }
    Guard(Guard&& other) noexcept
        : watchdog_(std::exchange(other.watchdog_, nullptr)),
          entry_(std::move(other.entry_)) {}
    Guard& operator=(Guard&& other) noexcept;

    // True once the action has been started.
    bool fired() const;
    // Ends the watch now; fired() keeps its answer.
    void Reset();

   private:
    friend class Watchdog;
    struct Entry;
    Guard(Watchdog* watchdog, std::shared_ptr<Entry> entry)
        : watchdog_(watchdog), entry_(std::move(entry)) {}

    Watchdog* watchdog_ = nullptr;
    std::shared_ptr<Entry> entry_;
  };

  explicit Watchdog(const Clock& clock);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Runs `action` once when the clock reaches `at`, unless the guard ends
  // before.  The action is short and does not touch the watchdog.
  [[nodiscard]] Guard Watch(absl::Duration at, std::function<void()> action);

  // Cancels the call with DEADLINE_EXCEEDED if the guard is alive after
  // `stall_timeout`: put it around one blocking Write, or keep it from
  // StartWrite to OnWriteDone.
  [[nodiscard]] Guard GuardWrite(grpc::ServerContextBase& context,
                                 absl::Duration stall_timeout);

 private:
  using Key = std::pair<absl::Duration, uint64_t>;  // when, number

  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void RunDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(const Guard::Entry& entry) ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;  // an earlier watch, the end, or an action that is done
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::Duration sleeping_until_ ABSL_GUARDED_BY(mutex_);
  uint64_t running_ ABSL_GUARDED_BY(mutex_) = 0;  // number; 0: none
  std::map<Key, std::shared_ptr<Guard::Entry>> watches_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the others
};

// Ends a call from the server's side so that its caller gets
// DEADLINE_EXCEEDED, even while a Write to it is blocked.
void CancelOverdue(grpc::ServerContextBase& context, const char* message);

}  // namespace winnow
