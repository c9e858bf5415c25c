// What LocalStore admits: the limits of a call, and memory for a write.

#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "cache_store/format/segment.h"
#include "cache_store/store/local_store.h"
#include "cache_store/store/too_large.h"

namespace winnow {

absl::Status LocalStore::CheckWrite(std::span<const SegmentSpec> segments,
                                    absl::Duration ttl) const {
  std::vector<SegmentKey> keys;
  keys.reserve(segments.size());
  for (const SegmentSpec& spec : segments) {
    if (spec.bytes == 0 || spec.bytes > kMaxSegmentBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("segment ", spec.key.ToHex(), " of ", spec.bytes,
                       " bytes; 1 to ", kMaxSegmentBytes, " are allowed"));
    }
    keys.push_back(spec.key);
  }
  return CheckLease(keys, ttl);
}

absl::Status LocalStore::CheckFits(
    std::span<const SegmentSpec> segments) const {
  size_t bytes = 0;  // in whole units, present ones too: all are held at once
  for (const SegmentSpec& spec : segments) {
    bytes += ArenaBytes(spec.bytes);
  }
  if (bytes <= options_.capacity_bytes &&
      segments.size() <= options_.max_segments) {
    return absl::OkStatus();
  }
  return TooLargeForStore(absl::StrCat(
      "the write needs ", bytes, " bytes for ", segments.size(),
      " segments; the store holds ", options_.capacity_bytes, " bytes and ",
      options_.max_segments, " segments in all and never has that much; raise ",
      options_.capacity_name, ", or write a shorter context"));
}

absl::Status LocalStore::CheckLease(std::span<const SegmentKey> keys,
                                    absl::Duration ttl) const {
  if (keys.empty() || keys.size() > options_.max_segments_per_write) {
    return absl::InvalidArgumentError(
        absl::StrCat(keys.size(), " segments at once; 1 to ",
                     options_.max_segments_per_write, " are allowed"));
  }
  absl::flat_hash_set<SegmentKey> distinct;
  for (const SegmentKey& key : keys) {
    if (!distinct.insert(key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("segment ", key.ToHex(), " is named twice"));
    }
  }
  return CheckTtl(ttl);
}

absl::Status LocalStore::CheckTtl(absl::Duration ttl) const {
  if (ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a lease of ", absl::FormatDuration(ttl),
                     "; it must be longer than 0, up to ",
                     absl::FormatDuration(options_.max_lease)));
  }
  return absl::OkStatus();
}

absl::Status LocalStore::CheckLeaseLimit() const {
  if (leases_.size() + writes_in_flight_ < options_.max_leases) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "all ", options_.max_leases, " leases are taken, ", writes_in_flight_,
      " of them by writes in flight; retry after a lease ends"));
}

absl::Status LocalStore::MakeRoom(size_t count, size_t bytes) {
  const size_t kept_bytes =
      table_.used_bytes() - table_.evictable_bytes() + reserved_bytes_;
  const size_t kept_count =
      table_.size() - table_.num_evictable() + reserved_segments_;
  if (bytes > options_.capacity_bytes - kept_bytes ||
      count > options_.max_segments - kept_count) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the write needs ", bytes, " bytes for ", count, " segments; ",
        extents_.free_bytes(), " bytes are free, ", table_.evictable_bytes(),
        " can be evicted, ", table_.used_bytes() - table_.evictable_bytes(),
        " are leased and ", reserved_bytes_, " reserved by other writes, with ",
        kept_count, " of ", options_.max_segments,
        " segments; retry after a lease ends"));
  }
  while (table_.size() + reserved_segments_ + count > options_.max_segments) {
    EvictOldest();
  }
  return absl::OkStatus();
}

absl::StatusOr<Extent> LocalStore::AllocateEvicting(size_t bytes) {
  while (true) {
    if (const auto extent = extents_.Allocate(bytes)) {
      return *extent;
    }
    if (!EvictOldest()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "a segment needs ", bytes, " bytes in one piece; ",
          extents_.free_bytes(), " bytes are free, ",
          extents_.largest_free_bytes(), " of them in one piece, and ",
          table_.used_bytes(), " are leased; retry after a lease ends"));
    }
  }
}

bool LocalStore::EvictOldest() {
  const std::optional<StoredSegment> evicted = table_.EvictOldest();
  if (!evicted.has_value()) {
    return false;
  }
  extents_.Free(evicted->extent);
  ghosts_.Remember(evicted->spec.key);
  ++counters_.evictions;
  return true;
}

}  // namespace winnow
