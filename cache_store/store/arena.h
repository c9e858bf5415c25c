#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "absl/status/statusor.h"

namespace winnow {

// A piece of an arena.
struct Extent {
  size_t offset = 0;
  size_t bytes = 0;  // a multiple of kArenaAlignment
  bool operator==(const Extent&) const = default;
};

// Extents begin at, and are, multiples of this.
inline constexpr size_t kArenaAlignment = 256;

constexpr size_t ArenaBytes(size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

// One mapped region of host memory of fixed capacity.  Pages cost memory from
// their first use on, so that an empty store is small.
//
// Knows nothing of what is free: that is ExtentMap's.  Thread-safe.
class Arena {
 public:
  // Maps `capacity_bytes`, in huge pages where the system has them.
  // InvalidArgument if that is 0 or not a multiple of kArenaAlignment; the
  // system's error if it cannot be mapped.
  static absl::StatusOr<std::unique_ptr<Arena>> Create(size_t capacity_bytes);
  ~Arena();

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // The first `bytes` of an extent.
  std::span<std::byte> Memory(const Extent& extent, size_t bytes) const;

  // Gives the whole pages of an extent back to the system.  Its bytes are
  // undefined from then on; nobody else may use it at the same time.
  void Discard(const Extent& extent) const;

  size_t capacity_bytes() const { return capacity_bytes_; }

 private:
  Arena(std::byte* base, size_t capacity_bytes)
      : base_(base), capacity_bytes_(capacity_bytes) {}

  std::byte* const base_;
  const size_t capacity_bytes_;
};

// Which extents of an arena are free: best fit, neighbours are joined.  Made
// for some ten thousand extents that are big.
//
// Not thread-safe.
class ExtentMap {
 public:
  explicit ExtentMap(size_t capacity_bytes);

  // The smallest free piece that holds `bytes` (> 0), the first of several;
  // nothing if there is no such piece.
  std::optional<Extent> Allocate(size_t bytes);
  // Takes back what Allocate gave, whole.
  void Free(const Extent& extent);

  size_t free_bytes() const { return free_bytes_; }
  size_t largest_free_bytes() const;

 private:
  void Insert(const Extent& extent);
  void Erase(std::map<size_t, size_t>::iterator piece);

  const size_t capacity_bytes_;
  size_t free_bytes_ = 0;
  std::map<size_t, size_t> by_offset_;            // offset -> bytes
  std::set<std::pair<size_t, size_t>> by_bytes_;  // (bytes, offset)
};

}  // namespace winnow
