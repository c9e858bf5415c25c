#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "cache_store/store/kv_store.h"
#include "gpu/base/clock.h"
#include "services/common/rpc.h"
#include "services/common/store_wire.h"
#include "services/store/store_metrics.h"
#include "winnow/v1/cache_store.grpc.pb.h"

namespace winnow {

struct StoreServiceOptions {
  size_t max_keys = kMaxStoreKeys;  // the store's own limit, or less
  absl::Duration max_lease_ttl = absl::Minutes(10);  // the store's
  size_t max_page = 10000;                           // segments of one List
  // A write that sends nothing for so long is ended, and its bytes are free
  // again.  Writers that are busy elsewhere send empty messages.
  absl::Duration write_idle_timeout = absl::Seconds(10);
  absl::Duration retry_hint = absl::Seconds(1);  // with RESOURCE_EXHAUSTED
  const Clock* clock = &Clock::Real();           // the frame's; outlives this
  StoreMetrics* metrics = nullptr;  // outlives this; null: nothing is counted
};

// What the streams of a service count.  Thread-safe.
struct StoreStreamCounters {
  std::atomic<uint64_t> frame_failures = 0;  // checksums of frames
  std::atomic<int64_t> open_views = 0;  // of the store, until they are sent
};

// What one stream of the service borrows; all of it outlives the stream.
struct StoreStream {
  KvStore& store;
  RpcFrame& frame;
  grpc::CallbackServerContext& context;
};

// RESOURCE_EXHAUSTED with a hint when to ask again, unless waiting does not
// help; other statuses as they are.
absl::Status WithRetryHint(absl::Status status, absl::Duration after);

// A KvStore over gRPC: winnow.v1.CacheStoreService.
//
// Unary calls are synchronous.  Read and Write move frames whose bytes gRPC
// takes from, and we put into, the store's memory.  The server's
// max_message_bytes should be kMaxStoreMessageBytes, and the frame's
// max_streams bounds reads and writes in flight.
//
// Thread-safe.  The store and the frame outlive it; it outlives the server.
class StoreService final
    : public v1::CacheStoreService::WithRawCallbackMethod_Read<
          v1::CacheStoreService::WithRawCallbackMethod_Write<
              v1::CacheStoreService::Service>> {
 public:
  StoreService(KvStore& store, RpcFrame& frame,
               const StoreServiceOptions& options);
  // Waits a moment for connections that end to let go of the store's memory.
  ~StoreService() override;

  uint64_t frame_failures() const { return counters_->frame_failures; }

  grpc::Status GetCapabilities(grpc::ServerContext* context,
                               const v1::GetCapabilitiesRequest* request,
                               v1::GetCapabilitiesResponse* response) override;
  grpc::Status Probe(grpc::ServerContext* context,
                     const v1::ProbeRequest* request,
                     v1::ProbeResponse* response) override;
  grpc::Status Acquire(grpc::ServerContext* context,
                       const v1::AcquireRequest* request,
                       v1::AcquireResponse* response) override;
  grpc::Status Renew(grpc::ServerContext* context,
                     const v1::RenewRequest* request,
                     v1::RenewResponse* response) override;
  grpc::Status Release(grpc::ServerContext* context,
                       const v1::ReleaseRequest* request,
                       v1::ReleaseResponse* response) override;
  grpc::Status Remove(grpc::ServerContext* context,
                      const v1::RemoveRequest* request,
                      v1::RemoveResponse* response) override;
  grpc::Status List(grpc::ServerContext* context,
                    const v1::ListRequest* request,
                    v1::ListResponse* response) override;
  grpc::Status GetStats(grpc::ServerContext* context,
                        const v1::GetStatsRequest* request,
                        v1::GetStatsResponse* response) override;

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Write(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Read(
      grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request) override;

 private:
  KvStore& store_;
  RpcFrame& frame_;
  const StoreServiceOptions options_;
  const uint64_t incarnation_;
  // Shared with views that a connection still holds.
  const std::shared_ptr<StoreStreamCounters> counters_;
};

}  // namespace winnow
