#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cache_store/store/kv_store.h"
#include "services/common/frame_codec.h"
#include "winnow/v1/cache_store.pb.h"

namespace winnow {

// The messages of one Write stream, taken in turn: what the stream may say,
// and what the store is told.  Knows nothing of the stream itself.
//
// Received bytes go straight into the store's memory.  Destruction without a
// delivered commit leaves nothing reserved, visible or leased.  Not
// thread-safe.
class WriteSession {
 public:
  // The store outlives it.
  WriteSession(KvStore& store, size_t max_segments)
      : store_(store), max_segments_(max_segments) {}
  ~WriteSession();
  WriteSession(const WriteSession&) = delete;
  WriteSession& operator=(const WriteSession&) = delete;

  // Takes the next message; the reply, if it has one.  After an error the
  // write is over: INVALID_ARGUMENT for messages out of order or out of range,
  // DATA_LOSS for bytes that fail a check, and what the store says.
  absl::StatusOr<std::optional<grpc::ByteBuffer>> Take(
      grpc::ByteBuffer& message);

  // The reply to the commit has been made: nothing more is taken.
  bool committed() const { return lease_.id != 0; }
  // The reply was sent: the lease is the caller's now.
  void Deliver() { lease_.id = 0; }

  // Frames that failed their checksum.  (The store counts segments.)
  uint64_t frame_failures() const { return frame_failures_; }

 private:
  absl::StatusOr<grpc::ByteBuffer> Begin(const v1::WriteBegin& begin);
  absl::StatusOr<grpc::ByteBuffer> Commit();
  absl::Status TakeFrame(StreamMessage& message);
  // Where the content of a frame belongs, if it is the frame that must come.
  absl::StatusOr<std::span<std::byte>> PlaceOf(const FrameHead& frame);

  KvStore& store_;
  const size_t max_segments_;
  std::unique_ptr<ContextWriter> writer_;     // from begin to the end
  std::vector<std::span<std::byte>> memory_;  // empty: nothing more to come
  std::optional<size_t> current_;             // the segment that has begun
  size_t received_ = 0;                       // bytes of it
  Lease lease_;                               // granted, not delivered
  uint64_t frame_failures_ = 0;
};

}  // namespace winnow
