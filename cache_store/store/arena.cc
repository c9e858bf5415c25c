#include "cache_store/store/arena.h"

#include <cassert>
#include <cerrno>
#include <iterator>

#include <sys/mman.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

absl::StatusOr<std::unique_ptr<Arena>> Arena::Create(size_t capacity_bytes) {
  if (capacity_bytes == 0 || capacity_bytes % kArenaAlignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("capacity_bytes is ", capacity_bytes,
                     "; it must be a positive multiple of ", kArenaAlignment));
  }
  void* const base =
      mmap(nullptr, capacity_bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, /*fd=*/-1, 0);
  if (base == MAP_FAILED) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot map an arena of ", capacity_bytes,
                            " bytes; give the store less memory"));
  }
  madvise(base, capacity_bytes, MADV_HUGEPAGE);  // works without, only slower
  return std::unique_ptr<Arena>(
      new Arena(static_cast<std::byte*>(base), capacity_bytes));
}

Arena::~Arena() { munmap(base_, capacity_bytes_); }

std::span<std::byte> Arena::Memory(const Extent& extent, size_t bytes) const {
  assert(bytes <= extent.bytes);
  assert(extent.bytes <= capacity_bytes_ &&
         extent.offset <= capacity_bytes_ - extent.bytes);
  return {base_ + extent.offset, bytes};
}

void Arena::Discard(const Extent& extent) const {
  const size_t page = PageBytes();
  const size_t begin = (extent.offset + page - 1) / page * page;
  const size_t end = (extent.offset + extent.bytes) / page * page;
  if (begin < end) {
    madvise(base_ + begin, end - begin, MADV_DONTNEED);
  }
}

ExtentMap::ExtentMap(size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {
  assert(capacity_bytes % kArenaAlignment == 0);
  if (capacity_bytes > 0) {
    Insert({.offset = 0, .bytes = capacity_bytes});
  }
}

std::optional<Extent> ExtentMap::Allocate(size_t bytes) {
  assert(bytes > 0);
  if (bytes > free_bytes_) {  // also keeps ArenaBytes from running over
    return std::nullopt;
  }
  const size_t wanted = ArenaBytes(bytes);
  const auto fit = by_bytes_.lower_bound({wanted, 0});
  if (fit == by_bytes_.end()) {
    return std::nullopt;
  }
  const auto [piece_bytes, offset] = *fit;
  Erase(by_offset_.find(offset));
  if (piece_bytes > wanted) {
    Insert({.offset = offset + wanted, .bytes = piece_bytes - wanted});
  }
  return Extent{.offset = offset, .bytes = wanted};
}

void ExtentMap::Free(const Extent& extent) {
  assert(extent.bytes > 0 && extent.bytes <= capacity_bytes_ &&
         extent.offset <= capacity_bytes_ - extent.bytes);
  Extent joined = extent;
  auto next = by_offset_.lower_bound(extent.offset);
  if (next != by_offset_.end()) {
    assert(extent.offset + extent.bytes <= next->first && "freed twice");
    if (extent.offset + extent.bytes == next->first) {
      joined.bytes += next->second;
      const auto after = std::next(next);
      Erase(next);
      next = after;
    }
  }
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    assert(previous->first + previous->second <= extent.offset &&
           "freed twice");
    if (previous->first + previous->second == extent.offset) {
      joined.offset = previous->first;
      joined.bytes += previous->second;
      Erase(previous);
    }
  }
  Insert(joined);
}

size_t ExtentMap::largest_free_bytes() const {
  return by_bytes_.empty() ? 0 : by_bytes_.rbegin()->first;
}

void ExtentMap::Insert(const Extent& extent) {
  by_offset_.emplace(extent.offset, extent.bytes);
  by_bytes_.emplace(extent.bytes, extent.offset);
  free_bytes_ += extent.bytes;
}

void ExtentMap::Erase(std::map<size_t, size_t>::iterator piece) {
  free_bytes_ -= piece->second;
  by_bytes_.erase({piece->second, piece->first});
  by_offset_.erase(piece);
}

}  // namespace winnow
