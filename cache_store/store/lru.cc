#include "cache_store/store/lru.h"

#include <cassert>

namespace winnow {

void Lru::Add(TouchTick tick, StoredSegment& segment) {
  [[maybe_unused]] const bool added = by_tick_.emplace(tick, &segment).second;
  assert(added && "two segments of one tick");
}

void Lru::Remove(TouchTick tick) {
  [[maybe_unused]] const size_t removed = by_tick_.erase(tick);
  assert(removed == 1);
}

StoredSegment* Lru::Oldest() const {
  return by_tick_.empty() ? nullptr : by_tick_.begin()->second;
}

}  // namespace winnow
