#include "cache_store/store/ghost_list.h"

namespace winnow {

void GhostList::Remember(const SegmentKey& key) {
  Forget(key);
  order_.push_front(key);
  keys_[key] = order_.begin();
  if (keys_.size() > capacity_) {
    keys_.erase(order_.back());
    order_.pop_back();
  }
}

void GhostList::Forget(const SegmentKey& key) {
  const auto entry = keys_.find(key);
  if (entry != keys_.end()) {
    order_.erase(entry->second);
    keys_.erase(entry);
  }
}

}  // namespace winnow
