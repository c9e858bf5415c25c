#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace winnow {

// What a segment holds (design, section 3).
enum class SegmentKind : uint8_t {
  kRetrieval = 'R',  // one block of the retrieval heads
  kWindow = 'W',     // one block of the local heads
  kAnchor = 'A',     // sinks and sums of the local heads at a boundary
  kTail = 'T',       // tokens after a boundary, all heads
  kTokens = 'X',     // single tokens picked by a policy
};

// Name of a segment: a SHA-256 that only tokens, model and plan determine (or
// a random id, for private segments).  Equal keys mean equal computation.
struct SegmentKey {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const SegmentKey&) const = default;
  // Lower-case hexadecimal.
  std::string ToHex() const;

  template <typename H>
  friend H AbslHashValue(H state, const SegmentKey& key) {
    uint64_t word;  // the key is uniform already
    std::memcpy(&word, key.bytes.data(), sizeof(word));
    return H::combine(std::move(state), word);
  }
};

}  // namespace winnow
