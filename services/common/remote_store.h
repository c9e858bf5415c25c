#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/store/kv_store.h"
#include "gpu/base/mutex.h"
#include "services/common/channel.h"
#include "services/common/client_call.h"
#include "services/common/remote_store_memory.h"
#include "winnow/v1/cache_store.grpc.pb.h"

namespace winnow {

struct RemoteStoreOptions {
  absl::Duration timeout = absl::Seconds(10);  // of a call, or of one step of
                                               // a write or a read
  absl::Duration transfer_timeout = absl::Seconds(60);  // of one read
  absl::Duration write_timeout = absl::Minutes(30);     // of a whole write
  // Writers that have nothing to send say that they are still there.
  absl::Duration keep_alive = absl::Seconds(2);
  // An abandoned write waits so long for the store to confirm that it has
  // dropped it, then it is cancelled; so does the end of a lease for a call
  // that nobody waits for.
  absl::Duration abandon_timeout = absl::Seconds(1);
  uint64_t max_read_bytes = uint64_t{16} << 30;  // of one ReadMany
  ChannelOptions channel;
};

class RemoteWriter;

// The store at an address, as a KvStore.
//
// What another process cannot do in time ends: a read as misses, kUnreachable
// or kTimeout, every other call as UNAVAILABLE, which names the address, or
// DEADLINE_EXCEEDED; all but Release as CANCELLED once the call of the thread
// is cancelled (call_scope.h).  Connects on first use, and again by itself.
//
// ReadMany is one stream, whatever the number of keys.  Segments are received
// into memory of their views, 64-byte aligned, and verified there: frame by
// frame while they come, and each as a whole, so a view never has wrong bytes.
// Integrity failures found on this side are added to those of GetStats.
//
// Thread-safe.  Outlives its writers; views live by themselves.
class RemoteStore final : public KvStore {
 public:
  // `address` is "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH".
  explicit RemoteStore(const std::string& address,
                       const RemoteStoreOptions& options = {});
  ~RemoteStore() override;
  RemoteStore(const RemoteStore&) = delete;
  RemoteStore& operator=(const RemoteStore&) = delete;

  absl::StatusOr<std::unique_ptr<ContextWriter>> BeginWrite(
      std::vector<SegmentSpec> segments, absl::Duration lease_ttl) override;
  absl::StatusOr<ProbeResult> Probe(std::span<const SegmentKey> keys) override;
  absl::StatusOr<AcquireResult> Acquire(std::span<const SegmentKey> keys,
                                        absl::Duration ttl) override;
  absl::StatusOr<ReadResult> Read(LeaseId lease,
                                  const SegmentKey& key) override;
  // ResourceExhausted over max_read_bytes.
  absl::StatusOr<std::vector<ReadResult>> ReadMany(
      LeaseId lease, std::span<const SegmentKey> keys) override;
  absl::StatusOr<Lease> Renew(LeaseId lease, absl::Duration ttl) override;
  absl::Status Release(LeaseId lease) override;
  absl::StatusOr<size_t> Remove(std::span<const SegmentKey> keys) override;
  absl::StatusOr<std::vector<SegmentSpec>> List(const SegmentKey& after,
                                                size_t limit) override;
  absl::StatusOr<StoreStats> GetStats() override;

 private:
  friend class RemoteWriter;

  // Runs a unary call under the timeout, as a part of the thread's call.
  absl::Status Call(absl::FunctionRef<grpc::Status(grpc::ClientContext&)> call);
  // Sends signs of life for writers that are silent.
  void KeepWritersAlive() ABSL_LOCKS_EXCLUDED(mutex_);

  const RemoteStoreOptions options_;
  const std::string peer_;  // "the cache store at ADDRESS"
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::CacheStoreService::Stub> stub_;
  const std::shared_ptr<SlabPool> slabs_ = SlabPool::Create();
  std::atomic<uint64_t> integrity_failures_ = 0;
  ClientCalls calls_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<RemoteWriter*> writers_ ABSL_GUARDED_BY(mutex_);  // in flight
  std::thread thread_;  // last: it uses the others
};

}  // namespace winnow
