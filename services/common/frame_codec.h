#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include "absl/status/status.h"

namespace winnow {

// Most bytes of segment that one frame carries.
inline constexpr size_t kMaxFrameBytes = size_t{1} << 20;

// The head of a frame (winnow.v1.Frame).
struct FrameHead {
  uint32_t segment_index = 0;
  uint64_t offset = 0;    // of the content in its segment
  uint64_t checksum = 0;  // XXH3-64 of the content
  size_t content_bytes = 0;
};

uint64_t FrameChecksum(std::span<const std::byte> content);

// Part of `segment` as a message that carries one frame: 1 to kMaxFrameBytes
// bytes at `offset`.  The bytes are not copied: `owner` is kept until gRPC has
// let go of them.
grpc::ByteBuffer EncodeFrame(uint32_t segment_index, uint64_t offset,
                             std::span<const std::byte> content,
                             std::shared_ptr<const void> owner);

// The first field of a WriteRequest or ReadResponse that came from outside; a
// frame is taken apart here, without generated code and with one copy.
//
// Not thread-safe.
class StreamMessage {
 public:
  // `buffer` outlives this and does not change.
  explicit StreamMessage(grpc::ByteBuffer& buffer);

  // Reads up to the content of a frame.  InvalidArgument says what is wrong
  // with it.  Before everything else, once.
  absl::Status Open();

  bool is_empty() const { return tag_ == 0; }
  bool is_frame() const;
  const FrameHead& frame() const { return frame_; }

  // Copies the content of a frame, whose length `to` has.  DataLoss if it does
  // not fit its checksum, InvalidArgument if the message goes on behind it;
  // what is in `to` is of no use then.
  absl::Status CopyContent(std::span<std::byte> to);

 private:
  absl::Status OpenFrame();
  // Reads up to the tag of the content.
  absl::Status ReadHeadFields();

  grpc::ByteBuffer& buffer_;
  grpc::ProtoBufferReader bytes_;
  google::protobuf::io::CodedInputStream input_;
  uint32_t tag_ = 0;
  FrameHead frame_;
};

}  // namespace winnow
