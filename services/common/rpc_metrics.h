#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "gpu/base/mutex.h"

namespace winnow {

// Buckets of latencies, seconds: 1 ms to 10 minutes.
const prometheus::Histogram::BucketBoundaries& SecondsBuckets();

// Name of a status code as gRPC spells it: "OK", "NOT_FOUND".
std::string_view StatusCodeName(absl::StatusCode code);

// Counts of RPCs by method and code.  Thread-safe.
class RpcMetrics {
 public:
  // The registry outlives this.
  explicit RpcMetrics(prometheus::Registry& registry);

  // One method's series.  `method` is a constant of the code; the first
  // kMaxMethods are told apart, further ones are "other".
  class Method {
   public:
    void Started() { in_flight_.Increment(); }
    void Ended(absl::StatusCode code, absl::Duration took);

   private:
    friend class RpcMetrics;
    Method(RpcMetrics& owner, const std::string& name);
    prometheus::Family<prometheus::Counter>& requests_family_;
    const std::string name_;
    prometheus::Histogram& duration_;
    prometheus::Gauge& in_flight_;
    // By code, made when it first happens.
    std::array<std::atomic<prometheus::Counter*>, 17> requests_ = {};
  };
  Method& ForMethod(std::string_view method) ABSL_LOCKS_EXCLUDED(mutex_);

  static constexpr size_t kMaxMethods = 64;

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& duration_;
  prometheus::Family<prometheus::Gauge>& in_flight_;
  Mutex mutex_;
  std::map<std::string, std::unique_ptr<Method>, std::less<>> methods_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace winnow
