#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/container/flat_hash_map.h"

namespace winnow {

// Finds the markers of special tokens in text: the leftmost first, and of
// those that begin at one place the longest.  Thread-safe once filled.
class MarkerFinder {
 public:
  struct Found {
    size_t begin;  // npos: none
    size_t length;
    int32_t id;
  };

  // False, and nothing is added, if `marker` is empty or already there.
  bool Add(std::string_view marker, int32_t id);

  // The first marker of `text` at or after `from`.
  Found Find(std::string_view text, size_t from) const;

 private:
  struct Node {
    uint32_t index;   // > 0; the root is 0
    int32_t id = -1;  // of the marker that ends here; -1: none does
  };

  Found LongestAt(std::string_view text, size_t begin) const;

  // The markers' trie: children by parent's index << 8 | byte.
  absl::flat_hash_map<uint64_t, Node> children_;
  std::array<bool, 256> begins_marker_{};  // by byte
};

}  // namespace winnow
