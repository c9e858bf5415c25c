#include "services/common/call_scope.h"

namespace winnow {
namespace {

thread_local const Call* current = nullptr;

}  // namespace

CallScope::CallScope(const Call& call) : outer_(current) { current = &call; }

CallScope::~CallScope() { current = outer_; }

const Call& CallScope::Current() {
  static const Call& none = *new Call;
  return current == nullptr ? none : *current;
}

bool CallScope::Cancelled() {
  return Current().cancelled && Current().cancelled();
}

}  // namespace winnow
