#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "gpu/base/mutex.h"

namespace winnow {

// What a FaultProxy does to the bytes of one direction, once.
struct Fault {
  enum class Kind : uint8_t {
    kNone,
    kCut,    // closes the connection after `at` bytes: the rest is lost
    kStall,  // passes nothing on after `at` bytes, and keeps the connection
    kDelay,  // holds the stream for `delay` at byte `at`
    kFlip,   // flips one bit of byte `at`
    kSwap,   // exchanges bytes [at, at + 8) and [at + 8, at + 16)
  };
  Kind kind = Kind::kNone;
  bool to_client = true;  // else: from the client to the server
  uint64_t at = 0;        // bytes of the direction since Inject
  // GCC wants it for designated initialisers.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  absl::Duration delay = {};
};

// A TCP proxy on loopback that damages what it passes on, at a byte that the
// test names.  Deterministic; lives as long as the test.
class FaultProxy {
 public:
  // In front of 127.0.0.1:`port`.
  explicit FaultProxy(int port);
  ~FaultProxy();

  std::string address() const;
  // Arms a fault and counts bytes from here on; kNone ends a stall.
  void Inject(const Fault& fault) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether the fault has happened.
  bool fired() const { return fired_; }
  // Bytes passed on in a direction since Inject.
  uint64_t passed(bool to_client) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum class Verdict : uint8_t { kPass, kClose, kHold };

  void Accept();
  void Pump(int from, int to, bool to_client);
  // Damages a piece, or cuts it short; kHold: try again later.
  Verdict Apply(std::vector<char>& piece, bool to_client)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Damage(std::span<char> bytes, uint64_t first) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int upstream_port_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> fired_ = false;
  Mutex mutex_;
  Fault fault_ ABSL_GUARDED_BY(mutex_);
  uint64_t passed_[2] ABSL_GUARDED_BY(mutex_) = {};
  std::vector<std::thread> pumps_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;  // last: it uses the others
};

}  // namespace winnow
