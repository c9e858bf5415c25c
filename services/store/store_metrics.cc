#include "services/store/store_metrics.h"

#include <string>
#include <string_view>

namespace winnow {
namespace {

constexpr std::array<std::string_view, 3> kRefusalNames = {
    "protocol", "checksum", "timeout"};

std::vector<prometheus::MetricFamily> Sample(KvStore& store) {
  const absl::StatusOr<StoreStats> stats = store.GetStats();
  if (!stats.ok()) {
    return {};  // absent, not wrong
  }
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&families](std::string_view name, std::string_view help,
                               prometheus::MetricType type, uint64_t value,
                               const prometheus::Labels& labels) {
    families.push_back(SampledFamily(name, help, type)
                           .Add(static_cast<double>(value), labels)
                           .family());
  };
  const prometheus::Labels host = {{"tier", "host"}};
  const auto gauge = prometheus::MetricType::Gauge;
  const auto counter = prometheus::MetricType::Counter;
  add("winnow_store_capacity_bytes", "Ceiling of the segments.", gauge,
      stats->capacity_bytes, host);
  add("winnow_store_used_bytes", "Segments, removed ones on lease included.",
      gauge, stats->used_bytes, host);
  add("winnow_store_reserved_bytes", "Promised to writes in flight.", gauge,
      stats->reserved_bytes, host);
  add("winnow_store_segments", "Visible segments.", gauge, stats->segments, {});
  add("winnow_store_leases", "Live leases.", gauge, stats->leases, {});
  add("winnow_store_writes_in_flight", "Writes that have not ended.", gauge,
      stats->writes_in_flight, {});
  add("winnow_store_written_bytes_total", "Segments written.", counter,
      stats->written_bytes, {});
  add("winnow_store_read_bytes_total", "Segments read.", counter,
      stats->read_bytes, {});
  add("winnow_store_hits_total", "Keys that Acquire found.", counter,
      stats->hits, {});
  add("winnow_store_evictions_total", "Segments evicted.", counter,
      stats->evictions, {});
  add("winnow_store_duplicate_writes_total",
      "Segments of commits that were there.", counter, stats->duplicate_writes,
      {});
  add("winnow_store_integrity_failures_total",
      "Segments that failed their check.", counter, stats->integrity_failures,
      {});
  return families;
}

}  // namespace

StoreMetrics::StoreMetrics(Metrics& metrics, KvStore& store) {
  metrics.AddSampler([&store] { return Sample(store); });
  auto& misses = prometheus::BuildCounter()
                     .Name("winnow_store_misses_total")
                     .Help("Keys that were not given, by reason.")
                     .Register(metrics.registry());
  for (size_t i = 1; i < misses_.size(); ++i) {
    const std::string_view name = MissReasonName(static_cast<MissReason>(i));
    misses_[i] = &misses.Add({{"reason", std::string(name)}});
  }
  auto& refusals = prometheus::BuildCounter()
                       .Name("winnow_store_frames_refused_total")
                       .Help("Frames of writes that were not taken.")
                       .Register(metrics.registry());
  for (size_t i = 0; i < refusals_.size(); ++i) {
    refusals_[i] = &refusals.Add({{"reason", std::string(kRefusalNames[i])}});
  }
}

void StoreMetrics::CountMiss(MissReason reason) {
  if (reason != MissReason::kNone) {
    misses_[static_cast<size_t>(reason)]->Increment();
  }
}

void StoreMetrics::CountRefusal(FrameRefusal reason) {
  refusals_[static_cast<size_t>(reason)]->Increment();
}

}  // namespace winnow
