#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace winnow {

struct StoredSegment;

// Moment of a touch; later is greater.
using TouchTick = uint64_t;

// The segments that may be evicted, by their last touch.  Segments that are
// pinned are not in here; they keep their tick and come back to the place it
// gives them.
//
// Not thread-safe.  Borrows the segments.
class Lru {
 public:
  // The moment of a touch that happens now.
  TouchTick Tick() { return ++last_tick_; }

  // Every tick is used for at most one segment.
  void Add(TouchTick tick, StoredSegment& segment);
  void Remove(TouchTick tick);

  // The segment that was touched longest ago; null if there is none.
  StoredSegment* Oldest() const;
  size_t size() const { return by_tick_.size(); }

 private:
  TouchTick last_tick_ = 0;  // 0: never touched
  std::map<TouchTick, StoredSegment*> by_tick_;
};

}  // namespace winnow
