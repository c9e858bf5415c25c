#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <prometheus/counter.h>
#include <prometheus/histogram.h>

#include "cache_store/format/miss_reason.h"
#include "services/common/admission.h"
#include "services/common/metrics.h"
#include "services/common/prefiller.h"

namespace winnow {

// Metrics of prefill.  Thread-safe.
class PrefillMetrics {
 public:
  // `load` is asked at every scrape; what it borrows outlives the metrics
  // server.
  PrefillMetrics(Metrics& metrics, std::function<Admission::Counts()> load);

  // A prefill that succeeded; `full_bytes` is what its tokens would take in
  // full.
  void Count(const PrefillResult& result, uint64_t full_bytes);
  // A start of a context that the store said to have and did not give.  kNone
  // counts nothing.
  void CountMiss(MissReason reason);

 private:
  static constexpr size_t kMissReasons =
      static_cast<size_t>(MissReason::kTimeout) + 1;

  struct Stages {
    explicit Stages(prometheus::Family<prometheus::Histogram>& family);
    // winnow_prefill_stage_seconds{stage}
    prometheus::Histogram& queue;
    prometheus::Histogram& reuse;
    prometheus::Histogram& context;
    prometheus::Histogram& compact;
    prometheus::Histogram& write;
    prometheus::Histogram& prompt;
  };

  Stages stages_;
  prometheus::Counter& tokens_;         // winnow_prefill_tokens_total
  prometheus::Counter& reused_tokens_;  // winnow_prefill_reused_tokens_total
  prometheus::Counter& full_bytes_;     // winnow_prefill_kv_full_bytes_total
  prometheus::Counter& stored_bytes_;   // winnow_prefill_kv_stored_bytes_total
  prometheus::Histogram& compression_;  // winnow_prefill_compression_ratio
  // winnow_prefill_misses_total{reason}; kNone has none.
  std::array<prometheus::Counter*, kMissReasons> misses_ = {};
};

}  // namespace winnow
