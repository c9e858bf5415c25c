// Segment, version 1, little-endian:
//
//   segment := header payload
//   header  := magic:u32 version:u16 kind:u8 dtype:u8 key:u8[32]
//              chain_digest:u8[32] layout_id:u32 head_dim:u32 num_layers:u32
//              num_heads:u32 num_blocks:u32 num_sinks:u32 first_token:u64
//              end_token:u64 payload_length:u64 xxh3:u8[16] zero[to 256]
//   payload := R, W: tile[layer][KV head of the class]
//              T: rows[layer][KV head], of n = end_token - first_token tokens
//              A: anchor, see anchor.h
//   rows    := keys T[n][d] values T[n][d]
//   tile    := K[64][d] V[2][d][32]        // V by dimension within 32 tokens
//
// magic is "WNSG" as bytes.  dtype is KvDtype.  xxh3 is the canonical
// (big-endian) XXH3-128, seed 0, of all bytes of the segment but itself.
// Magic, version and payload_length keep their places in every version, so
// that a reader can tell a segment of another version from a broken one.
//
// Golden bytes: tests/golden/segment_v1.hex
#include "cache_store/format/segment.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <concepts>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "cache_store/format/anchor.h"
#include "cache_store/format/token_rows.h"
#include "cache_store/format/xxh3.h"

namespace winnow {
namespace {

static_assert(std::endian::native == std::endian::little,
              "segments are little-endian and are read in place");

constexpr uint32_t kMagic = 0x47534E57;  // "WNSG"

// Offsets of the header's fields.
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 4;
constexpr size_t kKindAt = 6;
constexpr size_t kDtypeAt = 7;
constexpr size_t kKeyAt = 8;
constexpr size_t kChainDigestAt = 40;
constexpr size_t kLayoutIdAt = 72;
constexpr size_t kHeadDimAt = 76;
constexpr size_t kNumLayersAt = 80;
constexpr size_t kNumHeadsAt = 84;
constexpr size_t kNumBlocksAt = 88;
constexpr size_t kNumSinksAt = 92;
constexpr size_t kFirstTokenAt = 96;
constexpr size_t kEndTokenAt = 104;
constexpr size_t kPayloadLengthAt = 112;
constexpr size_t kChecksumAt = 120;
constexpr size_t kChecksumBytes = sizeof(XXH128_canonical_t);
constexpr size_t kHeaderEnd = kChecksumAt + kChecksumBytes;
static_assert(kHeaderEnd <= kSegmentHeaderBytes);

// Limits on what a header may say: the sizes below cannot overflow.
constexpr uint32_t kMaxHeadDim = 256;
constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxHeadsPerLayer = 1024;
constexpr uint32_t kMaxBlocks = 1 << 20;
constexpr uint64_t kMaxTokens = uint64_t{kMaxBlocks} * kBlockTokens;

template <std::integral T>
T Load(std::span<const std::byte> segment, size_t offset) {
  T value;
  std::memcpy(&value, segment.data() + offset, sizeof(value));
  return value;
}

template <typename T>
void Store(std::span<std::byte> segment, size_t offset, const T& value) {
  std::memcpy(segment.data() + offset, &value, sizeof(value));
}

XXH128_canonical_t Checksum(std::span<const std::byte> segment) {
  // On the stack: XXH3_createState could fail, and this cannot.
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, segment.data(), kChecksumAt);
  XXH3_128bits_update(&state, segment.data() + kHeaderEnd,
                      segment.size() - kHeaderEnd);
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits_digest(&state));
  return checksum;
}

bool LengthIsRight(std::span<const std::byte> segment) {
  // Subtracted, not added: the length in the header may be anything.
  return segment.size() >= kSegmentHeaderBytes &&
         segment.size() <= kMaxSegmentBytes &&
         Load<uint64_t>(segment, kPayloadLengthAt) ==
             segment.size() - kSegmentHeaderBytes;
}

bool KeyIs(const SegmentKey& key, std::span<const std::byte> segment) {
  return std::memcmp(segment.data() + kKeyAt, key.bytes.data(),
                     key.bytes.size()) == 0;
}

absl::Status BadField(absl::string_view field, uint64_t value,
                      absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat(
      "segment header: ", field, " is ", value, ", must be ", wanted));
}

absl::Status CheckTile(std::span<const std::byte> segment) {
  const auto dtype = Load<uint8_t>(segment, kDtypeAt);
  if (dtype > static_cast<uint8_t>(KvDtype::kBfloat16)) {
    return BadField("dtype", dtype, "0 (float32) or 1 (bfloat16)");
  }
  const auto layout_id = Load<uint32_t>(segment, kLayoutIdAt);
  if (layout_id != kTileLayoutId) {
    return BadField("layout_id", layout_id, absl::StrCat(kTileLayoutId));
  }
  const auto head_dim = Load<uint32_t>(segment, kHeadDimAt);
  if (head_dim == 0 || head_dim > kMaxHeadDim || head_dim % 16 != 0) {
    return BadField("head_dim", head_dim, "a multiple of 16 up to 256");
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const SegmentShape& shape) {
  if (shape.num_layers == 0 || shape.num_layers > kMaxLayers) {
    return BadField("num_layers", shape.num_layers,
                    absl::StrCat("1 to ", kMaxLayers));
  }
  const uint32_t most_heads = shape.num_layers * kMaxHeadsPerLayer;
  if (shape.num_heads == 0 || shape.num_heads > most_heads) {
    return BadField("num_heads", shape.num_heads,
                    absl::StrCat("1 to ", most_heads));
  }
  if (shape.end_token > kMaxTokens || shape.first_token >= shape.end_token) {
    return BadField("end_token", shape.end_token,
                    absl::StrCat("after first_token (", shape.first_token,
                                 ") and at most ", kMaxTokens));
  }
  const bool anchor = shape.kind == SegmentKind::kAnchor;
  if (shape.num_sinks > (anchor ? uint32_t{kBlockTokens} : 0)) {
    return BadField("num_sinks", shape.num_sinks,
                    anchor ? "at most 64" : "0 outside an anchor");
  }
  const uint64_t blocks =
      anchor ? 0
             : (shape.end_token + kBlockTokens - 1) / kBlockTokens -
                   shape.first_token / kBlockTokens;
  if (shape.num_blocks != blocks) {
    return BadField("num_blocks", shape.num_blocks,
                    absl::StrCat(blocks, " for its tokens"));
  }
  const bool one_block = shape.kind == SegmentKind::kRetrieval ||
                         shape.kind == SegmentKind::kWindow;
  if (one_block && (shape.first_token % kBlockTokens != 0 ||
                    shape.end_token - shape.first_token != kBlockTokens)) {
    return BadField("first_token", shape.first_token,
                    "the start of one whole block");
  }
  return absl::OkStatus();
}

}  // namespace

size_t SegmentShape::PayloadBytes() const {
  if (kind == SegmentKind::kAnchor) {
    return AnchorPayloadBytes(tile, num_heads, num_sinks);
  }
  if (kind == SegmentKind::kTail) {
    return num_heads * 2 * TokenRowBytes(tile, end_token - first_token);
  }
  return size_t{num_heads} * num_blocks * tile.Bytes();
}

void SealSegment(const SegmentHeader& header, std::span<std::byte> segment) {
  const SegmentShape& shape = header.shape;
  assert(segment.size() == shape.SegmentBytes());
  assert(segment.size() <= kMaxSegmentBytes);
  std::ranges::fill(segment.first(kSegmentHeaderBytes), std::byte{0});
  Store(segment, kMagicAt, kMagic);
  Store(segment, kVersionAt, kSegmentVersion);
  Store(segment, kKindAt, shape.kind);
  Store(segment, kDtypeAt, shape.tile.dtype);
  Store(segment, kKeyAt, header.key.bytes);
  Store(segment, kChainDigestAt, header.chain_digest);
  Store(segment, kLayoutIdAt, uint32_t{kTileLayoutId});
  Store(segment, kHeadDimAt, static_cast<uint32_t>(shape.tile.head_dim));
  Store(segment, kNumLayersAt, shape.num_layers);
  Store(segment, kNumHeadsAt, shape.num_heads);
  Store(segment, kNumBlocksAt, shape.num_blocks);
  Store(segment, kNumSinksAt, shape.num_sinks);
  Store(segment, kFirstTokenAt, shape.first_token);
  Store(segment, kEndTokenAt, shape.end_token);
  Store(segment, kPayloadLengthAt,
        uint64_t{segment.size() - kSegmentHeaderBytes});
  Store(segment, kChecksumAt, Checksum(segment));
}

MissReason VerifySegment(const SegmentKey& key, SegmentKind kind,
                         std::span<const std::byte> segment) {
  if (!LengthIsRight(segment) || Load<uint32_t>(segment, kMagicAt) != kMagic) {
    return MissReason::kCorrupt;
  }
  if (Load<uint16_t>(segment, kVersionAt) != kSegmentVersion) {
    return MissReason::kVersion;
  }
  if (!KeyIs(key, segment) ||
      Load<uint8_t>(segment, kKindAt) != static_cast<uint8_t>(kind)) {
    return MissReason::kIdentity;
  }
  const XXH128_canonical_t checksum = Checksum(segment);
  return std::memcmp(segment.data() + kChecksumAt, &checksum,
                     sizeof(checksum)) == 0
             ? MissReason::kNone
             : MissReason::kCorrupt;
}

std::span<const std::byte> SegmentPayload(const SegmentKey& key,
                                          const SegmentShape& expected,
                                          std::span<const std::byte> segment) {
  const absl::StatusOr<SegmentHeader> header = ParseSegmentHeader(segment);
  if (!header.ok() || header->key != key || header->shape != expected) {
    return {};
  }
  return segment.subspan(kSegmentHeaderBytes);
}

absl::StatusOr<SegmentHeader> ParseSegmentHeader(
    std::span<const std::byte> segment) {
  if (!LengthIsRight(segment)) {
    return BadField("length of the segment", segment.size(),
                    "header and payload_length");
  }
  if (Load<uint32_t>(segment, kMagicAt) != kMagic) {
    return BadField("magic", Load<uint32_t>(segment, kMagicAt), "WNSG");
  }
  if (Load<uint16_t>(segment, kVersionAt) != kSegmentVersion) {
    return BadField("version", Load<uint16_t>(segment, kVersionAt),
                    absl::StrCat(kSegmentVersion));
  }
  const auto kind = Load<uint8_t>(segment, kKindAt);
  if (!absl::StrContains("RWAT", static_cast<char>(kind))) {
    return BadField("kind", kind, "R, W, A or T");
  }
  if (absl::Status tile = CheckTile(segment); !tile.ok()) {
    return tile;
  }
  SegmentHeader header;
  std::memcpy(header.key.bytes.data(), segment.data() + kKeyAt,
              header.key.bytes.size());
  std::memcpy(header.chain_digest.data(), segment.data() + kChainDigestAt,
              header.chain_digest.size());
  SegmentShape& shape = header.shape;
  shape.kind = SegmentKind{kind};
  shape.tile.dtype = KvDtype{Load<uint8_t>(segment, kDtypeAt)};
  shape.tile.head_dim = static_cast<int>(Load<uint32_t>(segment, kHeadDimAt));
  shape.num_layers = Load<uint32_t>(segment, kNumLayersAt);
  shape.num_heads = Load<uint32_t>(segment, kNumHeadsAt);
  shape.num_blocks = Load<uint32_t>(segment, kNumBlocksAt);
  shape.num_sinks = Load<uint32_t>(segment, kNumSinksAt);
  shape.first_token = Load<uint64_t>(segment, kFirstTokenAt);
  shape.end_token = Load<uint64_t>(segment, kEndTokenAt);
  if (absl::Status counts = CheckCounts(shape); !counts.ok()) {
    return counts;
  }
  if (shape.PayloadBytes() != segment.size() - kSegmentHeaderBytes) {
    return BadField("payload_length", segment.size() - kSegmentHeaderBytes,
                    absl::StrCat(shape.PayloadBytes(), " for its shape"));
  }
  return header;
}

}  // namespace winnow
