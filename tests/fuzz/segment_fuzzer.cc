// Headers and whole segments from outside: nothing crashes, and what passes
// says the same whoever asks.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "cache_store/format/segment.h"

using winnow::MissReason;
using winnow::SegmentHeader;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::span<const std::byte> segment(
      reinterpret_cast<const std::byte*>(bytes), size);
  const absl::StatusOr<SegmentHeader> header =
      winnow::ParseSegmentHeader(segment);
  winnow::SegmentKey key;
  if (size >= 40) {
    std::memcpy(key.bytes.data(), bytes + 8, key.bytes.size());
  }
  const auto kind = winnow::SegmentKind{size > 6 ? bytes[6] : uint8_t{'R'}};
  const MissReason miss = winnow::VerifySegment(key, kind, segment);
  if (!header.ok()) {
    return 0;
  }
  // A header that parses describes exactly these bytes.
  if (header->key != key || header->shape.kind != kind ||
      header->shape.SegmentBytes() != size ||
      winnow::SegmentPayload(key, header->shape, segment).size() !=
          header->shape.PayloadBytes() ||
      (miss != MissReason::kNone && miss != MissReason::kCorrupt)) {
    std::abort();
  }
  // Sealed again, it is whole and says the same.
  std::vector<std::byte> sealed(segment.begin(), segment.end());
  winnow::SealSegment(*header, sealed);
  const absl::StatusOr<SegmentHeader> again =
      winnow::ParseSegmentHeader(sealed);
  if (winnow::VerifySegment(key, kind, sealed) != MissReason::kNone ||
      !again.ok() || again->shape != header->shape) {
    std::abort();
  }
  return 0;
}
