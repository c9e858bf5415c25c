#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "cache_store/store/kv_store.h"
#include "services/store/store_metrics.h"

namespace winnow {

// A store whose misses are counted by reason, whoever asks it: the pipelines
// of this process, or others over gRPC.  Thread-safe; the metrics outlive it.
class MeteredStore final : public KvStore {
 public:
  MeteredStore(std::unique_ptr<KvStore> store, StoreMetrics& metrics)
      : store_(std::move(store)), metrics_(metrics) {}

  absl::StatusOr<std::unique_ptr<ContextWriter>> BeginWrite(
      std::vector<SegmentSpec> segments, absl::Duration lease_ttl) override {
    return store_->BeginWrite(std::move(segments), lease_ttl);
  }
  absl::StatusOr<ProbeResult> Probe(std::span<const SegmentKey> keys) override {
    return store_->Probe(keys);
  }
  absl::StatusOr<AcquireResult> Acquire(std::span<const SegmentKey> keys,
                                        absl::Duration ttl) override {
    auto acquired = store_->Acquire(keys, ttl);
    if (acquired.ok()) {
      for (const MissReason reason : acquired->misses) {
        metrics_.CountMiss(reason);
      }
    }
    return acquired;
  }
  absl::StatusOr<ReadResult> Read(LeaseId lease,
                                  const SegmentKey& key) override {
    auto read = store_->Read(lease, key);
    if (read.ok()) {
      metrics_.CountMiss(read->miss);
    }
    return read;
  }
  absl::StatusOr<std::vector<ReadResult>> ReadMany(
      LeaseId lease, std::span<const SegmentKey> keys) override {
    auto reads = store_->ReadMany(lease, keys);
    if (reads.ok()) {
      for (const ReadResult& read : *reads) {
        metrics_.CountMiss(read.miss);
      }
    }
    return reads;
  }
  absl::StatusOr<Lease> Renew(LeaseId lease, absl::Duration ttl) override {
    return store_->Renew(lease, ttl);
  }
  absl::Status Release(LeaseId lease) override {
    return store_->Release(lease);
  }
  absl::StatusOr<size_t> Remove(std::span<const SegmentKey> keys) override {
    return store_->Remove(keys);
  }
  absl::StatusOr<std::vector<SegmentSpec>> List(const SegmentKey& after,
                                                size_t limit) override {
    return store_->List(after, limit);
  }
  absl::StatusOr<StoreStats> GetStats() override { return store_->GetStats(); }

 private:
  const std::unique_ptr<KvStore> store_;
  StoreMetrics& metrics_;
};

}  // namespace winnow
