#pragma once

#include <atomic>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"

#include "cache_store/store/kv_store.h"
#include "gpu/model/model_config.h"
#include "services/common/decoder.h"
#include "services/common/prefiller.h"

namespace winnow {

// A store that knows leases alone, and counts their ends.
class LeaseCounter final : public KvStore {
 public:
  int releases() const { return releases_; }

  absl::Status Release(LeaseId lease) override {
    released_ = lease;
    ++releases_;
    return absl::OkStatus();
  }
  LeaseId released() const { return released_; }

  absl::StatusOr<std::unique_ptr<ContextWriter>> BeginWrite(
      std::vector<SegmentSpec>, absl::Duration) override {
    return Unexpected();
  }
  absl::StatusOr<ProbeResult> Probe(std::span<const SegmentKey>) override {
    return Unexpected();
  }
  absl::StatusOr<AcquireResult> Acquire(std::span<const SegmentKey>,
                                        absl::Duration) override {
    return Unexpected();
  }
  absl::StatusOr<ReadResult> Read(LeaseId, const SegmentKey&) override {
    return Unexpected();
  }
  absl::StatusOr<Lease> Renew(LeaseId, absl::Duration) override {
    return Unexpected();
  }
  absl::StatusOr<size_t> Remove(std::span<const SegmentKey>) override {
    return Unexpected();
  }
  absl::StatusOr<std::vector<SegmentSpec>> List(const SegmentKey&,
                                                size_t) override {
    return Unexpected();
  }
  absl::StatusOr<StoreStats> GetStats() override { return Unexpected(); }

 private:
  static absl::Status Unexpected() {
    return absl::InternalError("the gateway has no business here");
  }
  std::atomic<int> releases_ = 0;
  std::atomic<LeaseId> released_ = 0;
};

inline constexpr LeaseId kFakeLease = 77;
inline constexpr int64_t kFakeReused = 5;
inline constexpr uint64_t kFakePulled = 4321;

// Gives one token and the lease kFakeLease, or the failures first.
class FakePrefiller final : public Prefiller {
 public:
  int32_t first = 0;
  std::deque<absl::Status> failures;
  int runs = 0;
  PrefillRequest last;

  absl::StatusOr<PrefillResult> Run(const PrefillRequest& request,
                                    const Call& call) override {
    ++runs;
    last = request;
    if (absl::Status status = call.Check(Clock::Real()); !status.ok()) {
      return status;
    }
    if (!failures.empty()) {
      const absl::Status failure = failures.front();
      failures.pop_front();
      return failure;
    }
    PrefillResult result;
    Manifest& manifest = result.manifest;
    manifest.plan = MakePlan({}, nullptr, {.num_layers = 3, .num_kv_heads = 2},
                             request.compact_at)
                        .value();
    manifest.num_tokens = std::ssize(request.ids);
    manifest.next_position = manifest.num_tokens;
    manifest.lease.id = kFakeLease;
    result.first = {.id = request.forced_first.value_or(first),
                    .log_probability = -0.5f,
                    .greedy = true};
    result.reused_tokens = kFakeReused;
    result.times.queue = absl::Milliseconds(3);
    result.times.write = absl::Milliseconds(2);
    result.times.total = absl::Milliseconds(10);
    return result;
  }
};

// Gives `script`, one token after the other; each run takes one of `failures`
// and fails after as many tokens as that says.
class FakeDecoder final : public Decoder {
 public:
  struct Failure {
    size_t after = 0;
    absl::Status status;
  };
  std::vector<int32_t> script;
  std::deque<Failure> failures;
  absl::Duration delay;  // before every token
  // A token that the second run gives instead of the script's last.
  int32_t divergence = -1;
  int runs = 0;
  DecodeRequest last;
  std::atomic<bool> saw_cancel = false;
  std::atomic<bool> stopped = false;

  absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                   const Call& call, TokenSink sink) override {
    last = request;
    std::vector<int32_t> ids = request.forced.empty() ? script : request.forced;
    ids.resize(std::min<size_t>(ids.size(), request.max_tokens));
    if (++runs == 2 && divergence >= 0) {
      ids.front() = divergence;
    }
    Failure failure = {.after = ids.size() + 1, .status = absl::OkStatus()};
    if (!failures.empty()) {
      failure = failures.front();
      failures.pop_front();
    }
    DecodeResult result;
    for (size_t i = 0; i <= ids.size(); ++i) {
      if (i == failure.after) {
        return failure.status;
      }
      absl::SleepFor(delay);
      if (absl::Status status = call.Check(Clock::Real()); !status.ok()) {
        saw_cancel = absl::IsCancelled(status);
        return status;
      }
      if (i == ids.size()) {
        break;
      }
      result.tokens.push_back(
          {.id = ids[i], .log_probability = -1.5f, .greedy = false});
      if (!sink(result.tokens.back())) {
        stopped = true;
        result.finish_reason = FinishReason::kCancelled;
        return result;
      }
    }
    result.finish_reason = std::ssize(ids) == request.max_tokens
                               ? FinishReason::kLength
                               : FinishReason::kStop;
    result.pulled_bytes = kFakePulled;
    result.queue = absl::Milliseconds(4);
    result.pull = absl::Milliseconds(5);
    result.decode = absl::Milliseconds(6);
    return result;
  }
};

}  // namespace winnow
