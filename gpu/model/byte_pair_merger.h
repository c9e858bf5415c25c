#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace winnow {

// The merges of a byte-pair vocabulary: joins the bytes of a piece of text,
// the pair of lowest rank first and of equal rank the leftmost, until no pair
// has a merge.  Immutable once its tables are filled, then thread-safe.
class BytePairMerger {
 public:
  // Buffers of one caller, kept from piece to piece.
  class Scratch {
   private:
    friend class BytePairMerger;
    struct Symbol {
      int32_t id;  // -1: joined to the one before it
      int32_t previous;
      int32_t next;  // -1 at either end
    };
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> queue_;  // min-heap of rank << 32 | position
  };

  BytePairMerger() { byte_ids_.fill(-1); }

  // Declares the token of a single byte.  Bytes without one are dropped.
  void SetByte(uint8_t byte, int32_t id) { byte_ids_[byte] = id; }
  // Declares that `left` and `right` join to `joined`, at the rank after the
  // last one.  False, and nothing is declared, if the pair has a merge.
  bool AddMerge(int32_t left, int32_t right, int32_t joined);

  // Appends the ids of `piece` to `ids`; returns how many bytes were dropped.
  // O(n log n).  `piece` must be shorter than 2^31 bytes.
  int64_t Merge(std::string_view piece, Scratch& scratch,
                std::vector<int32_t>& ids) const;

 private:
  struct Joined {
    uint32_t rank;
    int32_t id;
  };

  // The merge of the symbol at `position` with the next; null if none.
  const Joined* Find(const Scratch& scratch, int32_t position) const;
  void Push(Scratch& scratch, int32_t position) const;
  static void JoinWithNext(Scratch& scratch, int32_t position, int32_t id);

  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Joined> merges_;  // by left << 32 | right
};

}  // namespace winnow
