#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/store/kv_store.h"
#include "gpu/base/mutex.h"
#include "services/common/remote_store.h"
#include "services/common/remote_store_memory.h"
#include "services/common/remote_store_stream.h"

namespace winnow {

// A write into a remote store, over one Write stream.
//
// Allocate gives memory of this process; Seal checks it, sends it and frees
// it.  A write that is dropped tells the store so and waits a moment for it to
// confirm; if the store does not, the stream is cancelled.
//
// Not thread-safe, except KeepAlive.  The store outlives it.
class RemoteWriter final : public ContextWriter {
 public:
  RemoteWriter(RemoteStore& store, std::vector<SegmentSpec> specs);
  ~RemoteWriter() override;

  // Opens the stream and waits until the store has reserved the bytes.
  absl::Status Begin(absl::Duration lease_ttl);

  absl::StatusOr<std::span<std::byte>> Allocate(size_t index) override;
  absl::Status Seal(size_t index) override;
  absl::StatusOr<Lease> Commit() override;

  // Tells the store that the writer is still there, if nothing else did
  // lately.  From the store's thread.
  void KeepAlive() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum class SlotState : uint8_t { kReserved, kPresent, kAllocated, kSealed };
  struct Slot {
    SlotState state = SlotState::kReserved;
    std::shared_ptr<std::byte[]> memory;  // while kAllocated
  };

  absl::Status CheckOpen(size_t index) const;
  absl::Status SendSegment(size_t index) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Send(const grpc::ByteBuffer& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why the stream has ended, which was not to be expected.
  absl::Status Broken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, once bytes are reserved: what the store refuses then is not what
  // was sent, so that it is ABORTED.
  absl::Status NotTaken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Lease> ReceiveLease() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  RemoteStore& store_;
  const std::vector<SegmentSpec> specs_;
  std::vector<Slot> slots_;
  SegmentMemory segments_;
  bool ended_ = false;  // committed or failed
  // A call is about to send: KeepAlive need not, nor wait for it.
  std::atomic<bool> busy_ = false;

  Mutex mutex_;
  RemoteStoreStream stream_ ABSL_GUARDED_BY(mutex_);
  bool open_ ABSL_GUARDED_BY(mutex_) = false;  // messages can be sent
  absl::Time last_sent_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace winnow
