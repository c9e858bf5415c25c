#include "services/decode/decode_metrics.h"

#include <string>
#include <string_view>
#include <utility>

#include "services/common/rpc_metrics.h"

namespace winnow {
namespace {

std::vector<prometheus::MetricFamily> Sample(const DecodeCounts& counts) {
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&families](const char* name, const char* help,
                               prometheus::MetricType type, uint64_t value) {
    families.push_back(SampledFamily(name, help, type)
                           .Add(static_cast<double>(value))
                           .family());
  };
  const auto gauge = prometheus::MetricType::Gauge;
  const auto counter = prometheus::MetricType::Counter;
  add("winnow_decode_queue_depth", "Requests that wait for admission.", gauge,
      counts.queued);
  add("winnow_decode_running", "Sequences that are admitted.", gauge,
      counts.running);
  add("winnow_decode_reserved_bytes", "Memory promised to sequences.", gauge,
      counts.reserved_bytes);
  add("winnow_decode_batch_size", "Sequences of the last step.", gauge,
      counts.batch_size);
  add("winnow_decode_steps_total", "Forward passes.", counter, counts.steps);
  add("winnow_decode_step_tokens_total",
      "Tokens of all steps; over the steps: the mean size of a batch.", counter,
      counts.step_tokens);
  return families;
}

}  // namespace

DecodeMetrics::DecodeMetrics(Metrics& metrics,
                             std::function<DecodeCounts()> counts)
    : queue_(metrics.AddHistogram("winnow_decode_queue_seconds",
                                  "Until a sequence was admitted.",
                                  SecondsBuckets())),
      pull_(metrics.AddHistogram("winnow_decode_pull_seconds",
                                 "Loading of a sequence from the store.",
                                 SecondsBuckets())),
      steps_(metrics.AddHistogram("winnow_decode_steps_seconds",
                                  "All steps of a sequence.",
                                  SecondsBuckets())),
      tokens_(metrics.AddCounter("winnow_decode_tokens_total",
                                 "Tokens of decodes that succeeded.")),
      pulled_bytes_(
          metrics.AddCounter("winnow_decode_pulled_bytes_total",
                             "Segments pulled by decodes that succeeded.")) {
  metrics.AddSampler([counts = std::move(counts)] { return Sample(counts()); });
  auto& misses = prometheus::BuildCounter()
                     .Name("winnow_decode_misses_total")
                     .Help("Segments that the store did not give, by reason.")
                     .Register(metrics.registry());
  for (size_t i = 1; i < misses_.size(); ++i) {
    const std::string_view name = MissReasonName(static_cast<MissReason>(i));
    misses_[i] = &misses.Add({{"reason", std::string(name)}});
  }
}

void DecodeMetrics::Count(const DecodeResult& result) {
  queue_.Observe(absl::ToDoubleSeconds(result.queue));
  pull_.Observe(absl::ToDoubleSeconds(result.pull));
  steps_.Observe(absl::ToDoubleSeconds(result.decode));
  tokens_.Increment(static_cast<double>(result.tokens.size()));
  pulled_bytes_.Increment(static_cast<double>(result.pulled_bytes));
}

void DecodeMetrics::CountMiss(MissReason reason) {
  if (reason != MissReason::kNone) {
    misses_[static_cast<size_t>(reason)]->Increment();
  }
}

}  // namespace winnow
