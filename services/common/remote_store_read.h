#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "cache_store/format/lease.h"
#include "cache_store/format/segment_key.h"
#include "cache_store/store/kv_store.h"
#include "services/common/frame_codec.h"
#include "services/common/remote_store_memory.h"
#include "services/common/remote_store_stream.h"
#include "winnow/v1/cache_store.pb.h"

namespace winnow {

// The messages of one Read stream, taken in turn, and the segments that come
// of them.
//
// Nothing that the peer sends is trusted: sizes are bounded before memory is
// taken, frames must follow each other, and only verified bytes become a view.
// Not thread-safe.
class RemoteStoreRead {
 public:
  // `keys` outlive this.
  RemoteStoreRead(std::span<const SegmentKey> keys, uint64_t max_bytes,
                  std::shared_ptr<SlabPool> pool);

  // Reads all keys under `lease` through a stream that was not started.  What
  // the stream does not bring is a miss, kUnreachable or kTimeout; kCorrupt
  // where it leaves its order, or ends early as if all were well.  An error is
  // what asking again would not change, or what must wait.
  absl::Status Run(RemoteStoreStream& stream, LeaseId lease,
                   absl::Duration limit);

  // Takes the next message.  A segment that fails a checksum is a miss;
  // InvalidArgument: the stream cannot be understood from here on.
  // ResourceExhausted: the segments are over the limit.
  absl::Status Take(grpc::ByteBuffer& message);
  bool complete() const { return next_ == keys_.size(); }

  // In the order of the keys.
  std::vector<ReadResult> results() && { return std::move(results_); }
  uint64_t integrity_failures() const { return integrity_failures_; }

 private:
  absl::Status TakeSegment(const v1::ReadSegment& segment);
  absl::Status TakeFrame(StreamMessage& message);
  // Verifies the segment that is complete, and goes on to the next.
  void CloseSegment();
  // Gives all keys that have no result yet the reason that `status` stands
  // for, DATA_LOSS for the first of them alone; returns it if it is an error of
  // the call and not of the way.
  absl::Status MissTheRest(const absl::Status& status);

  const std::span<const SegmentKey> keys_;
  const uint64_t max_bytes_;
  SegmentMemory segments_;
  std::vector<ReadResult> results_;
  size_t next_ = 0;     // key that is open or comes next
  uint64_t bytes_ = 0;  // of all segments so far
  uint64_t integrity_failures_ = 0;

  // Of the segment that is open; null if none is.
  std::shared_ptr<std::byte[]> memory_;
  size_t size_ = 0;
  size_t received_ = 0;
  bool damaged_ = false;  // a frame failed its checksum
};

}  // namespace winnow
