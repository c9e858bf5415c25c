#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "cache_store/format/segment_key.h"
#include "cache_store/store/arena.h"
#include "cache_store/store/kv_store.h"
#include "cache_store/store/lru.h"

namespace winnow {

// A segment that was committed.
struct StoredSegment {
  SegmentSpec spec;
  Extent extent;

  // The rest is SegmentTable's.
  uint32_t pins = 0;  // by leases, writers and views
  TouchTick touched = 0;
  bool visible = true;   // false: removed or corrupt, and still pinned
  bool corrupt = false;  // its bytes failed a check
};

// All committed segments.  A segment is
//   visible and unpinned   in the LRU, may be evicted,
//   visible and pinned     found by its key, never evicted,
//   hidden and pinned      found by nobody; its pins keep its memory.
// One that is hidden and not pinned does not exist.
//
// Whoever takes the last bit of life from a segment gets its extent, to be
// given back to the arena.  Pointers to pinned segments stay valid.
//
// Not thread-safe.
class SegmentTable {
 public:
  // The visible segment of a key, or null.
  StoredSegment* Find(const SegmentKey& key) const;

  // Adds a visible segment, touched now and pinned once.  There is none of its
  // key.
  StoredSegment& InsertPinned(const SegmentSpec& spec, const Extent& extent);

  void Pin(StoredSegment& segment);
  std::optional<Extent> Unpin(StoredSegment& segment);

  // Makes a segment the most recently used.
  void Touch(StoredSegment& segment);

  // Hides a visible segment.
  std::optional<Extent> Hide(StoredSegment& segment);

  // Takes out the least recently used segment; nothing if all are pinned.
  std::optional<StoredSegment> EvictOldest();

  // Up to `limit` visible segments after a key, in key order.
  std::vector<SegmentSpec> List(const SegmentKey& after, size_t limit) const;

  size_t num_visible() const { return visible_.size(); }
  size_t num_evictable() const { return lru_.size(); }
  size_t size() const { return visible_.size() + hidden_.size(); }
  size_t used_bytes() const { return used_bytes_; }            // all of them
  size_t evictable_bytes() const { return evictable_bytes_; }  // unpinned

 private:
  void MakeEvictable(StoredSegment& segment);
  void MakeUnevictable(StoredSegment& segment);

  std::map<SegmentKey, std::unique_ptr<StoredSegment>> visible_;
  absl::flat_hash_map<const StoredSegment*, std::unique_ptr<StoredSegment>>
      hidden_;
  Lru lru_;
  size_t used_bytes_ = 0;
  size_t evictable_bytes_ = 0;
};

}  // namespace winnow
