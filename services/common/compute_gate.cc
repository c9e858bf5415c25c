#include "services/common/compute_gate.h"

namespace winnow {

ComputeGate::Turn ComputeGate::Enter(ComputeKind kind) {
  const MutexLock lock(mutex_);
  Line& line = lines_[static_cast<size_t>(kind)];
  const uint64_t number = line.next++;
  while (!IsNext(kind, number)) {
    changed_.Wait(mutex_);
  }
  ++line.served;
  busy_ = true;
  last_ = kind;
  return Turn(*this);
}

bool ComputeGate::IsNext(ComputeKind kind, uint64_t number) const {
  const Line& own = lines_[static_cast<size_t>(kind)];
  const Line& other = lines_[1 - static_cast<size_t>(kind)];
  return !busy_ && own.served == number && (other.empty() || last_ != kind);
}

void ComputeGate::Leave() {
  const MutexLock lock(mutex_);
  busy_ = false;
  changed_.NotifyAll();
}

int ComputeGate::NumWaiting(ComputeKind kind) const {
  const MutexLock lock(mutex_);
  const Line& line = lines_[static_cast<size_t>(kind)];
  return static_cast<int>(line.next - line.served);
}

}  // namespace winnow
