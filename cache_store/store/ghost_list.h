#pragma once

#include <cstddef>
#include <list>

#include "absl/container/flat_hash_map.h"

#include "cache_store/format/segment_key.h"

namespace winnow {

// The last keys that were evicted, so that a miss can say so.  Bounded: of
// more than `capacity` keys the oldest are forgotten.
//
// Not thread-safe.
class GhostList {
 public:
  explicit GhostList(size_t capacity) : capacity_(capacity) {}

  // Remembers a key; one that is known becomes the newest.
  void Remember(const SegmentKey& key);
  // Forgets a key that was written again.
  void Forget(const SegmentKey& key);

  bool Contains(const SegmentKey& key) const { return keys_.contains(key); }
  size_t size() const { return keys_.size(); }

 private:
  const size_t capacity_;
  std::list<SegmentKey> order_;  // newest first
  absl::flat_hash_map<SegmentKey, std::list<SegmentKey>::iterator> keys_;
};

}  // namespace winnow
