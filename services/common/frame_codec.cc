// The bytes of a frame in WriteRequest and in ReadResponse, where it has the
// same field number:
//
//   message := 0x12 length:varint frame
//   frame   := [0x08 segment_index:varint] [0x10 offset:varint]
//              [0x19 checksum:u64 LE] 0x22 length:varint content
//
// Members that are 0 are left out.  The content comes last, so that a reader
// knows where to put it before the first of its bytes.

#include "services/common/frame_codec.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/slice.h>

#include "absl/strings/str_cat.h"

#include "cache_store/format/xxh3.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kFrameTag = 0x12;
constexpr uint32_t kIndexTag = 0x08;
constexpr uint32_t kOffsetTag = 0x10;
constexpr uint32_t kChecksumTag = 0x19;
constexpr uint32_t kContentTag = 0x22;
constexpr size_t kMostHeadBytes = 48;  // both lengths included

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("a frame ", what, "; see Frame in cache_store.proto"));
}

void DropOwner(void* owner) {
  delete static_cast<std::shared_ptr<const void>*>(owner);
}

uint8_t* WriteVarintField(uint32_t tag, uint64_t value, uint8_t* to) {
  if (value == 0) {
    return to;
  }
  return CodedOutputStream::WriteVarint64ToArray(
      value, CodedOutputStream::WriteTagToArray(tag, to));
}

// All of a Frame message but its content.
size_t WriteFrameHead(const FrameHead& head, uint8_t* begin) {
  uint8_t* to = WriteVarintField(kIndexTag, head.segment_index, begin);
  to = WriteVarintField(kOffsetTag, head.offset, to);
  if (head.checksum != 0) {
    to = CodedOutputStream::WriteTagToArray(kChecksumTag, to);
    to = CodedOutputStream::WriteLittleEndian64ToArray(head.checksum, to);
  }
  to = CodedOutputStream::WriteTagToArray(kContentTag, to);
  to = CodedOutputStream::WriteVarint32ToArray(
      static_cast<uint32_t>(head.content_bytes), to);
  return static_cast<size_t>(to - begin);
}

}  // namespace

uint64_t FrameChecksum(std::span<const std::byte> content) {
  return XXH3_64bits(content.data(), content.size());
}

grpc::ByteBuffer EncodeFrame(uint32_t segment_index, uint64_t offset,
                             std::span<const std::byte> content,
                             std::shared_ptr<const void> owner) {
  assert(!content.empty() && content.size() <= kMaxFrameBytes);
  std::array<uint8_t, kMostHeadBytes> frame;
  const size_t frame_bytes = WriteFrameHead({.segment_index = segment_index,
                                             .offset = offset,
                                             .checksum = FrameChecksum(content),
                                             .content_bytes = content.size()},
                                            frame.data());
  std::array<uint8_t, 2 * kMostHeadBytes> head;
  uint8_t* to = CodedOutputStream::WriteTagToArray(kFrameTag, head.data());
  to = CodedOutputStream::WriteVarint32ToArray(
      static_cast<uint32_t>(frame_bytes + content.size()), to);
  to = std::copy_n(frame.data(), frame_bytes, to);
  // gRPC only reads them: its type of a slice does not know const.
  void* const bytes = const_cast<std::byte*>(content.data());
  const std::array<grpc::Slice, 2> slices = {
      grpc::Slice(head.data(), static_cast<size_t>(to - head.data())),
      grpc::Slice(bytes, content.size(), DropOwner,
                  new std::shared_ptr<const void>(std::move(owner)))};
  return {slices.data(), slices.size()};
}

StreamMessage::StreamMessage(grpc::ByteBuffer& buffer)
    : buffer_(buffer), bytes_(&buffer), input_(&bytes_) {}

bool StreamMessage::is_frame() const { return tag_ == kFrameTag; }

absl::Status StreamMessage::Open() {
  if (!buffer_.Valid() || buffer_.Length() == 0) {
    return absl::OkStatus();  // an empty message has no first field
  }
  tag_ = input_.ReadTag();
  if (tag_ == 0) {
    return absl::InvalidArgumentError("a message does not begin with a field");
  }
  return is_frame() ? OpenFrame() : absl::OkStatus();
}

absl::Status StreamMessage::OpenFrame() {
  uint32_t frame_bytes = 0;
  if (!input_.ReadVarint32(&frame_bytes) ||
      frame_bytes > kMaxFrameBytes + kMostHeadBytes) {
    return Malformed(absl::StrCat("is cut or longer than ", kMaxFrameBytes,
                                  " bytes and its head"));
  }
  input_.PushLimit(static_cast<int>(frame_bytes));
  WINNOW_RETURN_IF_ERROR(ReadHeadFields());
  uint32_t content_bytes = 0;
  if (!input_.ReadVarint32(&content_bytes) || content_bytes == 0 ||
      content_bytes > kMaxFrameBytes) {
    return Malformed(absl::StrCat("has no content, or more than ",
                                  kMaxFrameBytes, " bytes of it"));
  }
  if (input_.BytesUntilLimit() != static_cast<int>(content_bytes)) {
    return Malformed("does not end with its content");
  }
  frame_.content_bytes = content_bytes;
  return absl::OkStatus();
}

absl::Status StreamMessage::ReadHeadFields() {
  while (true) {
    const uint32_t tag = input_.ReadTag();
    bool read = true;
    switch (tag) {
      case kContentTag:
        return absl::OkStatus();
      case 0:
        return Malformed("has no content");
      case kIndexTag:
        read = input_.ReadVarint32(&frame_.segment_index);
        break;
      case kOffsetTag:
        read = input_.ReadVarint64(&frame_.offset);
        break;
      case kChecksumTag:
        read = input_.ReadLittleEndian64(&frame_.checksum);
        break;
      default:  // of a later version
        read = WireFormatLite::SkipField(&input_, tag);
    }
    if (!read) {
      return Malformed("is cut");
    }
  }
}

absl::Status StreamMessage::CopyContent(std::span<std::byte> to) {
  assert(is_frame() && to.size() == frame_.content_bytes);
  if (!input_.ReadRaw(to.data(), static_cast<int>(to.size()))) {
    return Malformed("is cut");
  }
  if (input_.CurrentPosition() != static_cast<int>(buffer_.Length())) {
    return Malformed("is not alone in its message");
  }
  if (FrameChecksum(to) != frame_.checksum) {
    return absl::DataLossError(absl::StrCat(
        "a frame of segment ", frame_.segment_index, " at ", frame_.offset,
        " fails its checksum; send the context again"));
  }
  return absl::OkStatus();
}

}  // namespace winnow
