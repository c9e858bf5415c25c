#include "services/common/watchdog.h"

#include <algorithm>
#include <atomic>

#include <grpc/grpc.h>

namespace winnow {
namespace {

// Between looks at the clock where nothing is due: a bound, not a period.
constexpr absl::Duration kLongestSleep = absl::Hours(1);

}  // namespace

struct Watchdog::Guard::Entry {
  Key key;
  std::function<void()> action;
  std::atomic<bool> fired = false;
};

Watchdog::Guard& Watchdog::Guard::operator=(Guard&& other) noexcept {
  if (this != &other) {
    Reset();
    watchdog_ = std::exchange(other.watchdog_, nullptr);
    entry_ = std::move(other.entry_);
  }
  return *this;
}

bool Watchdog::Guard::fired() const {
  return entry_ != nullptr && entry_->fired;
}

void Watchdog::Guard::Reset() {
  if (watchdog_ != nullptr) {
    std::exchange(watchdog_, nullptr)->Remove(*entry_);
  }
}

Watchdog::Watchdog(const Clock& clock)
    : clock_(clock), thread_([this] { Loop(); }) {}

Watchdog::~Watchdog() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

Watchdog::Guard Watchdog::Watch(absl::Duration at,
                                std::function<void()> action) {
  auto entry = std::make_shared<Guard::Entry>();
  entry->action = std::move(action);
  MutexLock lock(mutex_);
  entry->key = {at, next_number_++};
  watches_.emplace(entry->key, entry);
  if (at < sleeping_until_) {
    changed_.NotifyAll();
  }
  return {this, std::move(entry)};
}

Watchdog::Guard Watchdog::GuardWrite(grpc::ServerContextBase& context,
                                     absl::Duration stall_timeout) {
  return Watch(clock_.Monotonic() + stall_timeout, [&context] {
    CancelOverdue(context, "the caller read too slowly; read faster");
  });
}

void Watchdog::Loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    RunDue();
    const absl::Duration now = clock_.Monotonic();
    sleeping_until_ = now + kLongestSleep;
    if (!watches_.empty()) {
      sleeping_until_ =
          std::min(sleeping_until_, watches_.begin()->first.first);
    }
    if (!stopping_ && sleeping_until_ > now) {
      changed_.WaitFor(mutex_, sleeping_until_ - now);
    }
  }
}

void Watchdog::RunDue() {
  while (!stopping_ && !watches_.empty() &&
         watches_.begin()->first.first <= clock_.Monotonic()) {
    const std::shared_ptr<Guard::Entry> entry = watches_.begin()->second;
    watches_.erase(watches_.begin());
    running_ = entry->key.second;
    entry->fired = true;
    mutex_.Unlock();
    entry->action();
    mutex_.Lock();
    running_ = 0;
    changed_.NotifyAll();
  }
}

void Watchdog::Remove(const Guard::Entry& entry) {
  MutexLock lock(mutex_);
  watches_.erase(entry.key);
  while (running_ == entry.key.second) {
    changed_.Wait(mutex_);
  }
}

void CancelOverdue(grpc::ServerContextBase& context, const char* message) {
  // ServerContext::TryCancel would do, but says CANCELLED to the caller.
  grpc_call_cancel_with_status(context.c_call(), GRPC_STATUS_DEADLINE_EXCEEDED,
                               message, nullptr);
}

}  // namespace winnow
