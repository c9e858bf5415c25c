#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {

struct ModelSegment {
  uint32_t number = 0;
  uint32_t rank = 0;
  int64_t touched = 0;
  bool visible = true;
};
using ModelSegmentPtr = std::shared_ptr<ModelSegment>;

struct ModelLease {
  absl::Duration deadline;
  std::map<uint32_t, ModelSegmentPtr> segments;
};

struct ModelSlot {
  SegmentSpec spec;
  uint32_t number = 0;
  ModelSegmentPtr present;  // null: it has a reservation
  bool sealed = false;
};

struct ModelWrite {
  std::vector<ModelSlot> slots;
  absl::Duration ttl;
};

// A store without bytes that scans everything and keeps no books, to compare
// the local store with.  All segments have one size, so that it need not know
// about fragmentation.
class Model {
 public:
  absl::Duration now = absl::ZeroDuration();
  std::map<uint32_t, ModelSegmentPtr> visible;
  std::map<LeaseId, ModelLease> leases;
  std::map<int, ModelWrite> writes;
  std::vector<ModelSegmentPtr> views;
  std::deque<uint32_t> ghosts;  // newest first
  StoreStats counted;

  void Expire() {
    std::erase_if(leases, [&](const auto& entry) {
      return entry.second.deadline <= now;
    });
  }

  ModelSegmentPtr Find(uint32_t number) const {
    const auto entry = visible.find(number);
    return entry == visible.end() ? nullptr : entry->second;
  }

  MissReason Probe(uint32_t number) const {
    if (Find(number) != nullptr) {
      return MissReason::kNone;
    }
    return std::ranges::find(ghosts, number) != ghosts.end()
               ? MissReason::kEvicted
               : MissReason::kAbsent;
  }

  std::set<ModelSegmentPtr> Pinned() const {
    std::set<ModelSegmentPtr> pinned(views.begin(), views.end());
    for (const auto& [id, lease] : leases) {
      for (const auto& [number, segment] : lease.segments) {
        pinned.insert(segment);
      }
    }
    for (const auto& [id, write] : writes) {
      for (const ModelSlot& slot : write.slots) {
        if (slot.present != nullptr) {
          pinned.insert(slot.present);
        }
      }
    }
    return pinned;
  }

  size_t Used() const {
    std::set<ModelSegmentPtr> all = Pinned();
    for (const auto& [number, segment] : visible) {
      all.insert(segment);
    }
    return all.size();
  }

  size_t Reserved() const {
    size_t reserved = 0;
    for (const auto& [id, write] : writes) {
      reserved += std::ranges::count_if(write.slots, [](const ModelSlot& slot) {
        return slot.present == nullptr;
      });
    }
    return reserved;
  }

  void EvictOldest() {
    const std::set<ModelSegmentPtr> pinned = Pinned();
    ModelSegmentPtr oldest;
    for (const auto& [number, segment] : visible) {
      if (!pinned.contains(segment) &&
          (oldest == nullptr || segment->touched < oldest->touched)) {
        oldest = segment;
      }
    }
    ASSERT_NE(oldest, nullptr);
    oldest->visible = false;
    visible.erase(oldest->number);
    std::erase(ghosts, oldest->number);
    ghosts.push_front(oldest->number);
    ghosts.resize(std::min(ghosts.size(), kTestGhosts));
    ++counted.evictions;
  }

  void Touch(std::vector<ModelSegmentPtr> segments) {
    std::ranges::stable_sort(segments, std::ranges::greater{},
                             &ModelSegment::rank);
    for (const ModelSegmentPtr& segment : segments) {
      segment->touched = ++tick_;
    }
  }

  bool LeaseLimitReached() const {
    return leases.size() + writes.size() >= kTestMaxLeases;
  }

  // False: resource exhausted.
  bool BeginWrite(int id, const ModelWrite& write) {
    Expire();
    if (LeaseLimitReached()) {
      return false;
    }
    writes[id] = write;  // from here on it pins what is present
    size_t missing = 0;
    for (ModelSlot& slot : writes[id].slots) {
      slot.present = Find(slot.number);
      missing += slot.present == nullptr ? 1 : 0;
    }
    const size_t kept = Pinned().size() + Reserved();  // this write's included
    if (kept > kTestSegments) {
      writes.erase(id);
      return false;
    }
    while (Used() + Reserved() > kTestSegments) {
      EvictOldest();
    }
    return true;
  }

  absl::StatusCode Commit(int id) {
    Expire();
    ModelWrite& write = writes[id];
    for (const ModelSlot& slot : write.slots) {
      if (slot.present != nullptr && !slot.present->visible) {
        return absl::StatusCode::kAborted;
      }
    }
    std::vector<ModelSegmentPtr> segments;
    for (const ModelSlot& slot : write.slots) {
      ModelSegmentPtr segment = Find(slot.number);
      if (segment == nullptr) {
        segment = std::make_shared<ModelSegment>(
            ModelSegment{.number = slot.number, .rank = slot.spec.rank});
        visible[slot.number] = segment;
        std::erase(ghosts, slot.number);
        counted.written_bytes += kTestSegmentBytes;
      } else {
        ++counted.duplicate_writes;
      }
      segments.push_back(segment);
    }
    Touch(segments);
    committed = {.deadline = now + write.ttl, .segments = {}};
    for (const ModelSegmentPtr& segment : segments) {
      committed.segments[segment->number] = segment;
    }
    writes.erase(id);
    return absl::StatusCode::kOk;
  }
  ModelLease committed;  // by the last Commit

 private:
  int64_t tick_ = 0;
};

}  // namespace winnow
