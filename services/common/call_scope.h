#pragma once

#include "services/common/call.h"

namespace winnow {

// The call that this thread works for, known to what waits below the seams of
// storage and compute without being passed through them.
//
// While it lives, a remote store gives up waiting as soon as the call is
// cancelled: its operations end with CANCELLED, within a few milliseconds and
// not at their own deadline.  Local stores do not wait and do not ask.  What
// ends leases and writes is not given up, only cut short (RemoteStore).
//
// Scopes nest; the inner one counts.  Lives on the stack of one thread.
class [[nodiscard]] CallScope {
 public:
  // `call` outlives the scope.
  explicit CallScope(const Call& call);
  ~CallScope();
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

  // The call of this thread; one that is never cancelled if it has none.
  static const Call& Current();
  // Whether nobody waits for it any more.
  static bool Cancelled();

 private:
  const Call* const outer_;
};

}  // namespace winnow
