// The hand-made codec against the code that protoc generates from the same
// .proto, both ways, with slices cut anywhere.

#include "services/common/frame_codec.h"

#include <memory>
#include <string>
#include <vector>

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/slice.h>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cache_store/format/miss_reason.h"
#include "services/common/store_wire.h"
#include "winnow/v1/cache_store.pb.h"

namespace winnow {
namespace {

using testing::HasSubstr;

std::vector<std::byte> Content(size_t bytes) {
  std::vector<std::byte> content(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    content[i] = static_cast<std::byte>(i * 31 + i / 256);
  }
  return content;
}

std::string Text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

// `text` in slices of `piece` bytes.
grpc::ByteBuffer Cut(const std::string& text, size_t piece) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < text.size(); i += piece) {
    slices.emplace_back(text.substr(i, piece));
  }
  return {slices.data(), slices.size()};
}

grpc::ByteBuffer Whole(const google::protobuf::MessageLite& message) {
  return EncodeMessage(message);
}

v1::WriteRequest WireFrame(const std::vector<std::byte>& content) {
  v1::WriteRequest request;
  v1::Frame& frame = *request.mutable_frame();
  frame.set_segment_index(300);
  frame.set_offset(uint64_t{5} << 32);
  frame.set_checksum(FrameChecksum(content));
  frame.set_content(content.data(), content.size());
  return request;
}

// What opening and copying a message gives.
absl::Status TakeApart(grpc::ByteBuffer buffer,
                       std::vector<std::byte>* content = nullptr) {
  StreamMessage message(buffer);
  absl::Status status = message.Open();
  if (!status.ok() || !message.is_frame()) {
    return status;
  }
  std::vector<std::byte> copied(message.frame().content_bytes);
  status = message.CopyContent(copied);
  if (content != nullptr) {
    *content = copied;
  }
  return status;
}

TEST(FrameCodecTest, GeneratedCodeReadsWhatIsWritten) {
  for (const size_t bytes : {size_t{1}, size_t{255}, kMaxFrameBytes}) {
    const auto content =
        std::make_shared<std::vector<std::byte>>(Content(bytes));
    const grpc::ByteBuffer buffer = EncodeFrame(7, 123456, *content, content);
    v1::ReadResponse read;
    v1::WriteRequest written;
    ASSERT_TRUE(read.ParseFromString(Text(buffer)));
    ASSERT_TRUE(written.ParseFromString(Text(buffer)));
    EXPECT_EQ(read.frame().segment_index(), 7);
    EXPECT_EQ(read.frame().offset(), 123456);
    EXPECT_EQ(read.frame().checksum(), FrameChecksum(*content));
    EXPECT_EQ(read.frame().content(),
              std::string(reinterpret_cast<const char*>(content->data()),
                          content->size()));
    EXPECT_EQ(read.frame().SerializeAsString(),
              written.frame().SerializeAsString());
  }
}

TEST(FrameCodecTest, WhatIsWrittenIsWhatGeneratedCodeWrites) {
  const auto content = std::make_shared<std::vector<std::byte>>(Content(1000));
  v1::WriteRequest request = WireFrame(*content);
  EXPECT_EQ(Text(EncodeFrame(300, uint64_t{5} << 32, *content, content)),
            request.SerializeAsString());
  request.mutable_frame()->set_segment_index(0);
  request.mutable_frame()->set_offset(0);
  EXPECT_EQ(Text(EncodeFrame(0, 0, *content, content)),
            request.SerializeAsString());
}

TEST(FrameCodecTest, TheOwnerIsKeptUntilTheBytesAreReleased) {
  auto content = std::make_shared<std::vector<std::byte>>(Content(100000));
  const std::weak_ptr<std::vector<std::byte>> watched = content;
  grpc::ByteBuffer buffer = EncodeFrame(0, 0, *content, content);
  content.reset();
  EXPECT_FALSE(watched.expired());
  grpc::ByteBuffer copy = buffer;
  buffer.Clear();
  EXPECT_FALSE(watched.expired());
  copy.Clear();
  EXPECT_TRUE(watched.expired());
}

TEST(FrameCodecTest, SlicesMayBeCutAnywhere) {
  const std::vector<std::byte> content = Content(3000);
  const std::string text = WireFrame(content).SerializeAsString();
  for (const size_t piece : {1, 2, 3, 7, 24, 1000, 100000}) {
    grpc::ByteBuffer buffer = Cut(text, piece);
    StreamMessage message(buffer);
    ASSERT_TRUE(message.Open().ok()) << piece;
    ASSERT_TRUE(message.is_frame());
    EXPECT_EQ(message.frame().segment_index, 300);
    EXPECT_EQ(message.frame().offset, uint64_t{5} << 32);
    std::vector<std::byte> copied(message.frame().content_bytes);
    ASSERT_TRUE(message.CopyContent(copied).ok()) << piece;
    EXPECT_EQ(copied, content);
  }
}

TEST(FrameCodecTest, EveryCutMessageIsRefused) {
  const std::string text = WireFrame(Content(60)).SerializeAsString();
  for (size_t bytes = 1; bytes < text.size(); ++bytes) {
    EXPECT_EQ(TakeApart(Cut(text.substr(0, bytes), 16)).code(),
              absl::StatusCode::kInvalidArgument)
        << bytes;
  }
  EXPECT_TRUE(TakeApart(Cut(text, 16)).ok());
}

TEST(FrameCodecTest, EveryFlippedBitIsNoticed) {
  const std::vector<std::byte> content = Content(40);
  const std::string text = WireFrame(content).SerializeAsString();
  const size_t first = text.size() - content.size() - 10;  // the checksum
  for (size_t bit = 8 * first; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(TakeApart(Cut(flipped, 9)).ok()) << bit;
  }
}

TEST(FrameCodecTest, AWrongChecksumIsDataLoss) {
  v1::WriteRequest request = WireFrame(Content(60));
  request.mutable_frame()->set_checksum(1);
  const absl::Status status = TakeApart(Whole(request));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("segment 300"));
}

TEST(FrameCodecTest, FramesThatAreTooLongOrEmptyAreRefused) {
  EXPECT_TRUE(TakeApart(Whole(WireFrame(Content(kMaxFrameBytes)))).ok());
  for (const size_t bytes : {size_t{0}, kMaxFrameBytes + 1}) {
    EXPECT_EQ(TakeApart(Whole(WireFrame(Content(bytes)))).code(),
              absl::StatusCode::kInvalidArgument)
        << bytes;
  }
}

TEST(FrameCodecTest, BytesBehindTheFrameAreRefused) {
  const std::string text = WireFrame(Content(60)).SerializeAsString();
  EXPECT_EQ(TakeApart(Cut(text + text, 1000)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(FrameCodecTest, MembersOfLaterVersionsAreSkipped) {
  const std::vector<std::byte> content = Content(60);
  const std::string frame = WireFrame(content).frame().SerializeAsString();
  // Field 9, varint 5, before the others.
  const std::string later = std::string("\x48\x05") + frame;
  std::string message = "\x12";
  message += static_cast<char>(later.size());
  std::vector<std::byte> copied;
  EXPECT_TRUE(TakeApart(Cut(message + later, 11), &copied).ok());
  EXPECT_EQ(copied, content);
}

TEST(FrameCodecTest, AnEmptyMessageIsNoFrame) {
  for (grpc::ByteBuffer buffer :
       {grpc::ByteBuffer(nullptr, 0), grpc::ByteBuffer()}) {
    StreamMessage message(buffer);
    EXPECT_TRUE(message.Open().ok());
    EXPECT_TRUE(message.is_empty());
    EXPECT_FALSE(message.is_frame());
  }
}

TEST(StoreWireTest, MissReasonsHaveTheSameNumbersOnTheWire) {
  for (int i = 1; i < v1::MissReason_ARRAYSIZE; ++i) {
    const auto reason = static_cast<MissReason>(i);
    EXPECT_EQ(ToWire(reason), i);
    std::string name = "MISS_REASON_";
    for (const char c : MissReasonName(reason)) {
      name += static_cast<char>(std::toupper(c));
    }
    EXPECT_EQ(v1::MissReason_Name(ToWire(reason)), name);
  }
  EXPECT_EQ(FromWire(static_cast<v1::MissReason>(99)),
            MissReason::kUnreachable);
}

TEST(StoreWireTest, MembersAreCountedBeforeTheyAreParsed) {
  v1::WriteRequest request;
  for (int i = 0; i < 5; ++i) {
    request.mutable_begin()->add_segments();
  }
  const int path[] = {1, 1};
  v1::WriteRequest parsed;
  grpc::ByteBuffer buffer = Whole(request);
  EXPECT_TRUE(ParseMessage(buffer, path, 5, parsed).ok());
  EXPECT_EQ(parsed.begin().segments_size(), 5);
  const absl::Status refused = ParseMessage(buffer, path, 4, parsed);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("at most 4"));
  EXPECT_EQ(parsed.begin().segments_size(), 0);
}

}  // namespace
}  // namespace winnow
