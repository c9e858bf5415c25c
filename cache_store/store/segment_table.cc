#include "cache_store/store/segment_table.h"

#include <cassert>
#include <utility>

namespace winnow {

StoredSegment* SegmentTable::Find(const SegmentKey& key) const {
  const auto entry = visible_.find(key);
  return entry == visible_.end() ? nullptr : entry->second.get();
}

StoredSegment& SegmentTable::InsertPinned(const SegmentSpec& spec,
                                          const Extent& extent) {
  auto segment = std::make_unique<StoredSegment>(
      StoredSegment{.spec = spec, .extent = extent, .pins = 1});
  segment->touched = lru_.Tick();
  used_bytes_ += extent.bytes;
  const auto [entry, inserted] = visible_.emplace(spec.key, std::move(segment));
  assert(inserted && "segments are immutable");
  return *entry->second;
}

void SegmentTable::Pin(StoredSegment& segment) {
  if (segment.pins == 0) {
    MakeUnevictable(segment);
  }
  ++segment.pins;
}

std::optional<Extent> SegmentTable::Unpin(StoredSegment& segment) {
  assert(segment.pins > 0);
  --segment.pins;
  if (segment.pins > 0) {
    return std::nullopt;
  }
  if (segment.visible) {
    MakeEvictable(segment);
    return std::nullopt;
  }
  const Extent extent = segment.extent;
  used_bytes_ -= extent.bytes;
  hidden_.erase(&segment);
  return extent;
}

void SegmentTable::Touch(StoredSegment& segment) {
  const bool evictable = segment.visible && segment.pins == 0;
  if (evictable) {
    MakeUnevictable(segment);
  }
  segment.touched = lru_.Tick();
  if (evictable) {
    MakeEvictable(segment);
  }
}

std::optional<Extent> SegmentTable::Hide(StoredSegment& segment) {
  assert(segment.visible);
  auto node = visible_.extract(segment.spec.key);
  if (segment.pins > 0) {
    segment.visible = false;
    hidden_.emplace(&segment, std::move(node.mapped()));
    return std::nullopt;
  }
  MakeUnevictable(segment);
  used_bytes_ -= segment.extent.bytes;
  return segment.extent;
}

std::optional<StoredSegment> SegmentTable::EvictOldest() {
  StoredSegment* const oldest = lru_.Oldest();
  if (oldest == nullptr) {
    return std::nullopt;
  }
  const StoredSegment evicted = *oldest;
  Hide(*oldest);
  return evicted;
}

std::vector<SegmentSpec> SegmentTable::List(const SegmentKey& after,
                                            size_t limit) const {
  std::vector<SegmentSpec> specs;
  for (auto entry = visible_.upper_bound(after);
       entry != visible_.end() && specs.size() < limit; ++entry) {
    specs.push_back(entry->second->spec);
  }
  return specs;
}

void SegmentTable::MakeEvictable(StoredSegment& segment) {
  lru_.Add(segment.touched, segment);
  evictable_bytes_ += segment.extent.bytes;
}

void SegmentTable::MakeUnevictable(StoredSegment& segment) {
  lru_.Remove(segment.touched);
  evictable_bytes_ -= segment.extent.bytes;
}

}  // namespace winnow
