#pragma once

#include <array>
#include <functional>

#include <prometheus/counter.h>
#include <prometheus/histogram.h>

#include "cache_store/format/miss_reason.h"
#include "services/common/decoder.h"
#include "services/common/metrics.h"
#include "services/decode/decode_pipeline.h"

namespace winnow {

// Metrics of decode.  Thread-safe.
class DecodeMetrics {
 public:
  // `counts` is asked at every scrape; what it borrows outlives the metrics
  // server.
  DecodeMetrics(Metrics& metrics, std::function<DecodeCounts()> counts);

  // A decode that succeeded.
  void Count(const DecodeResult& result);
  // A segment that the store did not give.  kNone counts nothing.
  void CountMiss(MissReason reason);

 private:
  static constexpr size_t kMissReasons =
      static_cast<size_t>(MissReason::kTimeout) + 1;

  prometheus::Histogram& queue_;       // winnow_decode_queue_seconds
  prometheus::Histogram& pull_;        // winnow_decode_pull_seconds
  prometheus::Histogram& steps_;       // winnow_decode_steps_seconds
  prometheus::Counter& tokens_;        // winnow_decode_tokens_total
  prometheus::Counter& pulled_bytes_;  // winnow_decode_pulled_bytes_total
  // winnow_decode_misses_total{reason}; kNone has none.
  std::array<prometheus::Counter*, kMissReasons> misses_ = {};
};

}  // namespace winnow
