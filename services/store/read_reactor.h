#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cache_store/format/segment_key.h"
#include "cache_store/store/kv_store.h"
#include "services/common/rpc.h"
#include "services/common/watchdog.h"
#include "services/store/store_service.h"

namespace winnow {

// One Read stream: one message at a time, and no more than 2 MiB of them that
// have not been sent, so that few views are held.  Owns itself from
// construction to OnDone; gRPC calls it from one thread at a time.
class ReadReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  ReadReactor(const StoreStream& stream, const StoreServiceOptions& options,
              std::shared_ptr<StoreStreamCounters> counters,
              const grpc::ByteBuffer& request);

  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  ~ReadReactor() override = default;

  absl::Status Open(const StoreServiceOptions& options,
                    const grpc::ByteBuffer& request);
  // Sends the next message, or ends the stream after the last.
  void Advance();
  // Of the write of `message_`.
  grpc::WriteOptions Options();
  // The head of segment `index_`.
  absl::StatusOr<grpc::ByteBuffer> OpenSegment();
  // The next frame of the segment that is open.
  grpc::ByteBuffer NextFrame();
  void End(const absl::Status& status);

  KvStore& store_;
  RpcFrame& frame_;
  grpc::CallbackServerContext& context_;
  const std::shared_ptr<StoreStreamCounters> counters_;
  RpcFrame::Scope scope_;
  LeaseId lease_ = 0;
  std::vector<SegmentKey> keys_;
  size_t index_ = 0;  // of the key that is next or open
  SegmentView view_;  // of the segment that is open
  size_t sent_ = 0;   // bytes of it
  grpc::ByteBuffer message_;
  bool begun_ = false;     // the first has been sent
  Watchdog::Guard guard_;  // of the write in flight
};

}  // namespace winnow
