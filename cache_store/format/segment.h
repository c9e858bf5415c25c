#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

#include "cache_store/format/miss_reason.h"
#include "cache_store/format/segment_key.h"
#include "gpu/kv_tile.h"

namespace winnow {

inline constexpr uint16_t kSegmentVersion = 1;
inline constexpr uint16_t kTileLayoutId = 1;  // KvTileShape's layout
inline constexpr size_t kSegmentHeaderBytes = 256;
inline constexpr size_t kMaxSegmentBytes = size_t{1} << 32;

// What the payload of a segment is made of.
//
// R, W: tiles [layer][KV head of the class].
// T: rows of its tokens [layer][KV head], see token_rows.h: no padding.
// A: see anchor.h.
struct SegmentShape {
  SegmentKind kind = SegmentKind::kRetrieval;
  KvTileShape tile;
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;    // heads of the class, over all layers together
  uint32_t num_blocks = 1;   // blocks that its tokens touch; R, W: 1; A: 0
  uint32_t num_sinks = 0;    // A only
  uint64_t first_token = 0;  // tokens [first_token, end_token); those of T may
  uint64_t end_token = 0;    // start and end inside a block
  bool operator==(const SegmentShape&) const = default;

  size_t PayloadBytes() const;
  size_t SegmentBytes() const { return kSegmentHeaderBytes + PayloadBytes(); }
};

// What a header says.
struct SegmentHeader {
  SegmentKey key;
  std::array<uint8_t, 32> chain_digest{};  // d of the key; zero if private
  SegmentShape shape;
};

// Writes header and checksum (XXH3-128 over the header's other bytes and the
// payload) in front of a payload that is already in place.  `segment` is
// header.shape.SegmentBytes() long and 64-byte aligned.
void SealSegment(const SegmentHeader& header, std::span<std::byte> segment);

// Verifies a segment: length, magic, version, key, kind, then checksum.  Knows
// nothing of models, so the store can use it.
MissReason VerifySegment(const SegmentKey& key, SegmentKind kind,
                         std::span<const std::byte> segment);

// Checks that the header of a verified segment says exactly `expected`, and
// returns the payload; an empty span means kIdentity.  For readers, who know
// what shape they need.
std::span<const std::byte> SegmentPayload(const SegmentKey& key,
                                          const SegmentShape& expected,
                                          std::span<const std::byte> segment);

// Reads a header from outside: bounded, nothing trusted.  InvalidArgument says
// which field.  For listings and tools.
absl::StatusOr<SegmentHeader> ParseSegmentHeader(
    std::span<const std::byte> segment);

}  // namespace winnow
