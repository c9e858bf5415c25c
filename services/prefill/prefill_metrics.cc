#include "services/prefill/prefill_metrics.h"

#include <string>
#include <string_view>
#include <utility>

#include "services/common/rpc_metrics.h"

namespace winnow {
namespace {

// 1: nothing was dropped.
const prometheus::Histogram::BucketBoundaries kRatioBuckets = {
    0.5, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 20, 50};

prometheus::Histogram& Stage(prometheus::Family<prometheus::Histogram>& family,
                             const char* stage) {
  return family.Add({{"stage", stage}}, SecondsBuckets());
}

std::vector<prometheus::MetricFamily> Sample(const Admission::Counts& load) {
  return {SampledFamily("winnow_prefill_queue_depth", "Prefills that wait.",
                        prometheus::MetricType::Gauge)
              .Add(load.queued)
              .family(),
          SampledFamily("winnow_prefill_running", "Prefills that are computed.",
                        prometheus::MetricType::Gauge)
              .Add(load.running)
              .family()};
}

}  // namespace

PrefillMetrics::Stages::Stages(
    prometheus::Family<prometheus::Histogram>& family)
    : queue(Stage(family, "queue")),
      reuse(Stage(family, "reuse")),
      context(Stage(family, "context")),
      compact(Stage(family, "compact")),
      write(Stage(family, "write")),
      prompt(Stage(family, "prompt")) {}

PrefillMetrics::PrefillMetrics(Metrics& metrics,
                               std::function<Admission::Counts()> load)
    : stages_(prometheus::BuildHistogram()
                  .Name("winnow_prefill_stage_seconds")
                  .Help("Time of one prefill in each of its stages.")
                  .Register(metrics.registry())),
      tokens_(metrics.AddCounter("winnow_prefill_tokens_total",
                                 "Tokens of contexts and prompts.")),
      reused_tokens_(
          metrics.AddCounter("winnow_prefill_reused_tokens_total",
                             "Tokens of contexts that the store had.")),
      full_bytes_(metrics.AddCounter(
          "winnow_prefill_kv_full_bytes_total",
          "What the tokens' keys and values would take in full.")),
      stored_bytes_(
          metrics.AddCounter("winnow_prefill_kv_stored_bytes_total",
                             "What the segments of their manifests take.")),
      compression_(metrics.AddHistogram(
          "winnow_prefill_compression_ratio",
          "Full bytes over stored bytes of one prefill.", kRatioBuckets)) {
  metrics.AddSampler([load = std::move(load)] { return Sample(load()); });
  auto& misses = prometheus::BuildCounter()
                     .Name("winnow_prefill_misses_total")
                     .Help("Prefills that computed again what the store had.")
                     .Register(metrics.registry());
  for (size_t i = 1; i < misses_.size(); ++i) {
    const std::string_view name = MissReasonName(static_cast<MissReason>(i));
    misses_[i] = &misses.Add({{"reason", std::string(name)}});
  }
}

void PrefillMetrics::Count(const PrefillResult& result, uint64_t full_bytes) {
  const PrefillTimes& times = result.times;
  stages_.queue.Observe(absl::ToDoubleSeconds(times.queue));
  stages_.reuse.Observe(absl::ToDoubleSeconds(times.reuse));
  stages_.context.Observe(absl::ToDoubleSeconds(times.context));
  stages_.compact.Observe(absl::ToDoubleSeconds(times.compact));
  stages_.write.Observe(absl::ToDoubleSeconds(times.write));
  stages_.prompt.Observe(absl::ToDoubleSeconds(times.prompt));
  tokens_.Increment(static_cast<double>(result.manifest.num_tokens));
  reused_tokens_.Increment(static_cast<double>(result.reused_tokens));
  const auto full = static_cast<double>(full_bytes);
  const auto stored = static_cast<double>(result.manifest.StoredBytes());
  full_bytes_.Increment(full);
  stored_bytes_.Increment(stored);
  if (stored > 0) {
    compression_.Observe(full / stored);
  }
}

void PrefillMetrics::CountMiss(MissReason reason) {
  if (reason != MissReason::kNone) {
    misses_[static_cast<size_t>(reason)]->Increment();
  }
}

}  // namespace winnow
