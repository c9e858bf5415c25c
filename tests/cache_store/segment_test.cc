#include "cache_store/format/segment.h"

#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"

#include "tests/golden.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

// 64-byte aligned bytes, as stores allocate them.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size) : size_(size) {
    bytes_ =
        static_cast<std::byte*>(::operator new(size, std::align_val_t{64}));
    std::memset(bytes_, 0, size);
  }
  ~AlignedBytes() { ::operator delete(bytes_, std::align_val_t{64}); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;

  std::span<std::byte> span() { return {bytes_, size_}; }
  std::byte& operator[](size_t index) { return bytes_[index]; }

 private:
  std::byte* bytes_;
  size_t size_;
};

// The segment of tests/golden/make_segment.py.
SegmentHeader GoldenHeader() {
  SegmentHeader header;
  for (int i = 0; i < 32; ++i) {
    header.key.bytes[i] = static_cast<uint8_t>(i);
    header.chain_digest[i] = static_cast<uint8_t>(100 + i);
  }
  header.shape = {.kind = SegmentKind::kWindow,
                  .tile = {.head_dim = 16, .dtype = KvDtype::kBfloat16},
                  .num_layers = 2,
                  .num_heads = 1,
                  .num_blocks = 1,
                  .first_token = 64,
                  .end_token = 128};
  return header;
}

void Fill(std::span<std::byte> segment) {
  for (size_t i = kSegmentHeaderBytes; i < segment.size(); ++i) {
    segment[i] = static_cast<std::byte>((i - kSegmentHeaderBytes) * 7 % 251);
  }
}

// A sealed segment of the golden header, changed by `change`.
class SegmentTest : public ::testing::Test {
 protected:
  explicit SegmentTest(const SegmentHeader& header = GoldenHeader())
      : header_(header), bytes_(header.shape.SegmentBytes()) {
    Fill(bytes_.span());
    SealSegment(header_, bytes_.span());
  }

  MissReason Verify() {
    return VerifySegment(header_.key, SegmentKind::kWindow, bytes_.span());
  }
  // Seals again with `change` made to the shape and bytes to match.
  absl::StatusOr<SegmentHeader> ParseWith(
      const std::function<void(SegmentShape&)>& change) {
    SegmentHeader header = header_;
    change(header.shape);
    AlignedBytes bytes(header.shape.SegmentBytes());
    SealSegment(header, bytes.span());
    return ParseSegmentHeader(bytes.span());
  }
  void SetU64(size_t offset, uint64_t value) {
    std::memcpy(bytes_.span().data() + offset, &value, sizeof(value));
  }

  SegmentHeader header_;
  AlignedBytes bytes_;
};

TEST_F(SegmentTest, HasTheBytesThatTheGrammarGives) {
  const std::string golden =
      absl::StrReplaceAll(ReadGolden("segment_v1.hex"), {{"\n", ""}});
  ASSERT_FALSE(golden.empty());
  EXPECT_EQ(Hex(bytes_.span()), golden);
}

TEST_F(SegmentTest, IsAHitUnderItsOwnKeyAndKind) {
  EXPECT_EQ(Verify(), MissReason::kNone);
}

TEST_F(SegmentTest, IsAnIdentityMissUnderAnotherKeyOrKind) {
  SegmentKey other = header_.key;
  other.bytes[31] ^= 1;
  EXPECT_EQ(VerifySegment(other, SegmentKind::kWindow, bytes_.span()),
            MissReason::kIdentity);
  EXPECT_EQ(VerifySegment(header_.key, SegmentKind::kTail, bytes_.span()),
            MissReason::kIdentity);
}

TEST_F(SegmentTest, NoBitCanFlipUnnoticed) {
  for (size_t at = 0; at < kSegmentHeaderBytes + 64; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes_[at] ^= static_cast<std::byte>(1 << bit);
      EXPECT_NE(Verify(), MissReason::kNone) << "byte " << at;
      bytes_[at] ^= static_cast<std::byte>(1 << bit);
    }
  }
  EXPECT_EQ(Verify(), MissReason::kNone);
}

TEST_F(SegmentTest, AnotherVersionIsSaidBeforeTheIdentity) {
  bytes_[4] = std::byte{2};
  bytes_[8] ^= std::byte{1};
  EXPECT_EQ(Verify(), MissReason::kVersion);
}

TEST_F(SegmentTest, AnyOtherLengthIsCorrupt) {
  const std::span<std::byte> whole = bytes_.span();
  for (const size_t length : {size_t{0}, size_t{1}, kSegmentHeaderBytes - 1,
                              kSegmentHeaderBytes, whole.size() - 1}) {
    EXPECT_EQ(
        VerifySegment(header_.key, SegmentKind::kWindow, whole.first(length)),
        MissReason::kCorrupt)
        << length;
  }
}

TEST_F(SegmentTest, APayloadLengthThatWrapsAroundIsCorrupt) {
  constexpr size_t kPayloadLengthAt = 112;
  // header + length == size modulo 2^64 must not pass by overflow.
  SetU64(kPayloadLengthAt, ~uint64_t{0});
  EXPECT_EQ(Verify(), MissReason::kCorrupt);
  SetU64(kPayloadLengthAt, 0 - uint64_t{kSegmentHeaderBytes});
  EXPECT_EQ(VerifySegment(header_.key, SegmentKind::kWindow,
                          bytes_.span().first(kSegmentHeaderBytes)),
            MissReason::kCorrupt);
  EXPECT_FALSE(ParseSegmentHeader(bytes_.span()).ok());
}

TEST_F(SegmentTest, GivesItsPayloadForExactlyItsShape) {
  const std::span<const std::byte> payload =
      SegmentPayload(header_.key, header_.shape, bytes_.span());
  ASSERT_EQ(payload.data(), bytes_.span().data() + kSegmentHeaderBytes);
  EXPECT_EQ(payload.size(), header_.shape.PayloadBytes());
}

TEST_F(SegmentTest, GivesNoPayloadForAnyOtherShape) {
  const std::vector<std::function<void(SegmentShape&)>> changes = {
      [](SegmentShape& s) { s.kind = SegmentKind::kRetrieval; },
      [](SegmentShape& s) { s.tile.head_dim = 32; },
      [](SegmentShape& s) { s.tile.dtype = KvDtype::kFloat32; },
      [](SegmentShape& s) { s.num_layers = 3; },
      [](SegmentShape& s) { s.num_heads = 2; },
      [](SegmentShape& s) { s.num_blocks = 2; },
      [](SegmentShape& s) { s.num_sinks = 1; },
      [](SegmentShape& s) { s.first_token = 0; },
      [](SegmentShape& s) { s.end_token = 192; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    SegmentShape other = header_.shape;
    changes[i](other);
    EXPECT_TRUE(SegmentPayload(header_.key, other, bytes_.span()).empty()) << i;
  }
  SegmentKey key = header_.key;
  key.bytes[0] ^= 1;
  EXPECT_TRUE(SegmentPayload(key, header_.shape, bytes_.span()).empty());
}

TEST_F(SegmentTest, AHeaderReadsBackAsItWasWritten) {
  const absl::StatusOr<SegmentHeader> header =
      ParseSegmentHeader(bytes_.span());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->key, header_.key);
  EXPECT_EQ(header->chain_digest, header_.chain_digest);
  EXPECT_EQ(header->shape, header_.shape);
}

TEST_F(SegmentTest, ATailMayStartInsideItsFirstBlock) {
  const auto header = ParseWith([](SegmentShape& s) {
    s.kind = SegmentKind::kTail;
    s.first_token = 100;
    s.end_token = 200;
    s.num_blocks = 3;
  });
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->shape.first_token, 100u);
}

TEST_F(SegmentTest, AHeaderOutOfRangeNamesItsField) {
  const auto message = [&](const std::function<void(SegmentShape&)>& change) {
    return std::string(ParseWith(change).status().message());
  };
  EXPECT_THAT(message([](SegmentShape& s) { s.tile.head_dim = 24; }),
              HasSubstr("head_dim"));
  EXPECT_THAT(message([](SegmentShape& s) { s.num_layers = 0; }),
              HasSubstr("num_layers"));
  EXPECT_THAT(message([](SegmentShape& s) { s.num_heads = 0; }),
              HasSubstr("num_heads"));
  EXPECT_THAT(message([](SegmentShape& s) { s.num_sinks = 1; }),
              HasSubstr("num_sinks"));
  EXPECT_THAT(message([](SegmentShape& s) { s.num_blocks = 2; }),
              HasSubstr("num_blocks"));
  EXPECT_THAT(message([](SegmentShape& s) { s.end_token = s.first_token; }),
              HasSubstr("end_token"));
  EXPECT_THAT(message([](SegmentShape& s) { s.kind = SegmentKind::kTokens; }),
              HasSubstr("kind"));
}

TEST(MissReasonTest, EveryReasonHasItsName) {
  EXPECT_EQ(MissReasonName(MissReason::kNone), "none");
  EXPECT_EQ(MissReasonName(MissReason::kAbsent), "absent");
  EXPECT_EQ(MissReasonName(MissReason::kTimeout), "timeout");
  EXPECT_EQ(MissReasonName(static_cast<MissReason>(200)), "invalid");
}

}  // namespace
}  // namespace winnow
