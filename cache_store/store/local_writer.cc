#include "cache_store/store/local_writer.h"

#include <cassert>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "cache_store/format/segment.h"
#include "gpu/base/mutex.h"
#include "gpu/base/status.h"

namespace winnow {

LocalStore::Writer::Writer(LocalStore& store, std::vector<SegmentSpec> specs,
                           absl::Duration lease_ttl)
    : store_(store),
      specs_(std::move(specs)),
      lease_ttl_(lease_ttl),
      slots_(specs_.size()) {}

LocalStore::Writer::~Writer() {
  std::vector<Extent> freed;
  {
    MutexLock lock(store_.mutex_);
    for (Slot& slot : slots_) {
      if (slot.state == SlotState::kPresent) {
        if (const auto extent = store_.table_.Unpin(*slot.segment)) {
          freed.push_back(*extent);
        }
      } else if (slot.state != SlotState::kEmpty) {
        Unreserve(slot);
        freed.push_back(slot.extent);
      }
    }
    if (in_flight_) {
      --store_.writes_in_flight_;
    }
  }
  store_.GiveBack(std::move(freed));
}

absl::Status LocalStore::Writer::Reserve() {
  MutexLock lock(store_.mutex_);
  store_.ExpireLeases();
  WINNOW_RETURN_IF_ERROR(store_.CheckLeaseLimit());
  WINNOW_RETURN_IF_ERROR(PinPresent());
  WINNOW_RETURN_IF_ERROR(AllocateMissing());
  ++store_.writes_in_flight_;
  in_flight_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::span<std::byte>> LocalStore::Writer::Allocate(
    size_t index) {
  WINNOW_RETURN_IF_ERROR(CheckOpen(index));
  Slot& slot = slots_[index];
  if (slot.state == SlotState::kPresent) {
    return std::span<std::byte>();
  }
  if (slot.state != SlotState::kReserved) {
    return absl::FailedPreconditionError(
        absl::StrCat("segment ", index, " was allocated before"));
  }
  std::vector<Extent> dropped;
  {
    MutexLock lock(store_.mutex_);
    StoredSegment* const winner = store_.table_.Find(specs_[index].key);
    if (winner != nullptr) {  // another write has committed it meanwhile
      dropped.push_back(YieldTo(*winner, slot));
    }
  }
  if (!dropped.empty()) {
    store_.GiveBack(std::move(dropped));
    return std::span<std::byte>();
  }
  slot.state = SlotState::kAllocated;
  return store_.arena_->Memory(slot.extent, specs_[index].bytes);
}

absl::Status LocalStore::Writer::Seal(size_t index) {
  WINNOW_RETURN_IF_ERROR(CheckOpen(index));
  Slot& slot = slots_[index];
  if (slot.state != SlotState::kAllocated) {
    return absl::FailedPreconditionError(absl::StrCat(
        "segment ", index, " is not allocated, or sealed already"));
  }
  const SegmentSpec& spec = specs_[index];
  const MissReason reason = VerifySegment(
      spec.key, spec.kind, store_.arena_->Memory(slot.extent, spec.bytes));
  if (reason != MissReason::kNone) {
    ended_ = true;  // spans of other segments stay valid till destruction
    MutexLock lock(store_.mutex_);
    ++store_.counters_.integrity_failures;
    return absl::DataLossError(absl::StrCat(
        "segment ", index, " (", spec.key.ToHex(), ") fails its check: ",
        std::string(MissReasonName(reason)), "; write the context again"));
  }
  slot.state = SlotState::kSealed;
  return absl::OkStatus();
}

absl::StatusOr<Lease> LocalStore::Writer::Commit() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(CheckOpen(i));
    if (slots_[i].state != SlotState::kSealed &&
        slots_[i].state != SlotState::kPresent) {
      return absl::FailedPreconditionError(
          absl::StrCat("segment ", i, " is not sealed"));
    }
  }
  ended_ = true;
  std::vector<Extent> dropped;
  Lease lease;
  {
    MutexLock lock(store_.mutex_);
    store_.ExpireLeases();
    WINNOW_RETURN_IF_ERROR(CheckPresent());
    lease = Publish(dropped);
  }
  store_.GiveBack(std::move(dropped));
  return lease;
}

absl::Status LocalStore::Writer::CheckOpen(size_t index) const {
  if (ended_) {
    return absl::FailedPreconditionError(
        "the write has ended; begin another one");
  }
  if (index >= specs_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segment ", index, " of a write of ", specs_.size(), " segments"));
  }
  return absl::OkStatus();
}

absl::Status LocalStore::Writer::PinPresent() {
  for (size_t i = 0; i < specs_.size(); ++i) {
    StoredSegment* const segment = store_.table_.Find(specs_[i].key);
    if (segment == nullptr) {
      continue;
    }
    if (segment->spec.kind != specs_[i].kind ||
        segment->spec.bytes != specs_[i].bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "segment ", specs_[i].key.ToHex(), " of ", specs_[i].bytes,
          " bytes is stored already, but with another kind or with ",
          segment->spec.bytes, " bytes; equal keys mean equal segments"));
    }
    store_.table_.Pin(*segment);
    slots_[i] = {
        .state = SlotState::kPresent, .extent = {}, .segment = segment};
  }
  return absl::OkStatus();
}

absl::Status LocalStore::Writer::AllocateMissing() {
  size_t bytes = 0;
  size_t count = 0;
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (slots_[i].state == SlotState::kEmpty) {
      bytes += ArenaBytes(specs_[i].bytes);
      ++count;
    }
  }
  WINNOW_RETURN_IF_ERROR(store_.MakeRoom(count, bytes));
  for (size_t i = 0; i < specs_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.state == SlotState::kEmpty) {
      WINNOW_ASSIGN_OR_RETURN(slot.extent,
                              store_.AllocateEvicting(specs_[i].bytes));
      slot.state = SlotState::kReserved;
      store_.reserved_bytes_ += slot.extent.bytes;
      ++store_.reserved_segments_;
    }
  }
  return absl::OkStatus();
}

Extent LocalStore::Writer::YieldTo(StoredSegment& segment, Slot& slot) {
  store_.table_.Pin(segment);
  Unreserve(slot);
  const Extent extent = slot.extent;
  slot = {.state = SlotState::kPresent, .extent = {}, .segment = &segment};
  return extent;
}

absl::Status LocalStore::Writer::CheckPresent() {
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (slots_[i].state == SlotState::kPresent && !slots_[i].segment->visible) {
      return absl::AbortedError(absl::StrCat(
          "segment ", i, " (", specs_[i].key.ToHex(),
          ") was present when the write began and has been removed since; "
          "write the context again"));
    }
  }
  return absl::OkStatus();
}

Lease LocalStore::Writer::Publish(std::vector<Extent>& dropped) {
  LeasedSegments leased;
  std::vector<StoredSegment*> segments;
  for (size_t i = 0; i < specs_.size(); ++i) {
    Slot& slot = slots_[i];
    const SegmentSpec& spec = specs_[i];
    if (slot.state == SlotState::kSealed) {
      StoredSegment* const winner = store_.table_.Find(spec.key);
      if (winner != nullptr) {
        dropped.push_back(YieldTo(*winner, slot));
      } else {
        Unreserve(slot);
        slot.segment = &store_.table_.InsertPinned(spec, slot.extent);
        store_.ghosts_.Forget(spec.key);
        store_.counters_.written_bytes += spec.bytes;
      }
    }
    if (slot.state == SlotState::kPresent) {
      ++store_.counters_.duplicate_writes;
    }
    leased.emplace(spec.key, slot.segment);
    segments.push_back(slot.segment);
    slot = {};  // its pin is the lease's now
  }
  store_.TouchByRank(segments);
  --store_.writes_in_flight_;
  in_flight_ = false;
  return store_.GrantLease(std::move(leased), lease_ttl_);
}

void LocalStore::Writer::Unreserve(const Slot& slot) {
  store_.reserved_bytes_ -= slot.extent.bytes;
  --store_.reserved_segments_;
}

}  // namespace winnow
