#pragma once

#include <array>
#include <cstdint>

#include <prometheus/counter.h>

#include "cache_store/format/miss_reason.h"
#include "cache_store/store/kv_store.h"
#include "services/common/metrics.h"

namespace winnow {

// Why a message of a write was not taken, which ends the write.
enum class FrameRefusal : uint8_t {
  kProtocol,  // malformed, too long, or not where it belongs
  kChecksum,
  kTimeout,  // none came in time
};

// Metrics of the store.  Level and totals come from the store when they are
// scraped; what only the service knows is counted here.  Thread-safe.
class StoreMetrics {
 public:
  // The store outlives the metrics server.
  StoreMetrics(Metrics& metrics, KvStore& store);

  // A key that Acquire or Read did not give.  kNone counts nothing.
  void CountMiss(MissReason reason);
  void CountRefusal(FrameRefusal reason);

 private:
  static constexpr size_t kMissReasons =
      static_cast<size_t>(MissReason::kTimeout) + 1;
  static constexpr size_t kRefusals =
      static_cast<size_t>(FrameRefusal::kTimeout) + 1;

  // winnow_store_misses_total{reason}; kNone has none.
  std::array<prometheus::Counter*, kMissReasons> misses_ = {};
  // winnow_store_frames_refused_total{reason}
  std::array<prometheus::Counter*, kRefusals> refusals_ = {};
};

}  // namespace winnow
