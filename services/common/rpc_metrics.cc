#include "services/common/rpc_metrics.h"

namespace winnow {
namespace {

constexpr std::array<std::string_view, 17> kCodeNames = {"OK",
                                                         "CANCELLED",
                                                         "UNKNOWN",
                                                         "INVALID_ARGUMENT",
                                                         "DEADLINE_EXCEEDED",
                                                         "NOT_FOUND",
                                                         "ALREADY_EXISTS",
                                                         "PERMISSION_DENIED",
                                                         "RESOURCE_EXHAUSTED",
                                                         "FAILED_PRECONDITION",
                                                         "ABORTED",
                                                         "OUT_OF_RANGE",
                                                         "UNIMPLEMENTED",
                                                         "INTERNAL",
                                                         "UNAVAILABLE",
                                                         "DATA_LOSS",
                                                         "UNAUTHENTICATED"};

size_t CodeIndex(absl::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < kCodeNames.size()
             ? index
             : static_cast<size_t>(absl::StatusCode::kInternal);
}

}  // namespace

const prometheus::Histogram::BucketBoundaries& SecondsBuckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
      1,     2.5,    5,     10,   30,    60,   120, 300,  600};
  return buckets;
}

std::string_view StatusCodeName(absl::StatusCode code) {
  return kCodeNames[CodeIndex(code)];
}

RpcMetrics::RpcMetrics(prometheus::Registry& registry)
    : requests_(prometheus::BuildCounter()
                    .Name("winnow_rpc_requests_total")
                    .Help("RPCs that have ended.")
                    .Register(registry)),
      duration_(prometheus::BuildHistogram()
                    .Name("winnow_rpc_duration_seconds")
                    .Help("From the start of an RPC to its status.")
                    .Register(registry)),
      in_flight_(prometheus::BuildGauge()
                     .Name("winnow_rpc_in_flight")
                     .Help("RPCs that have begun and not ended.")
                     .Register(registry)) {}

RpcMetrics::Method::Method(RpcMetrics& owner, const std::string& name)
    : requests_family_(owner.requests_),
      name_(name),
      duration_(owner.duration_.Add({{"method", name}}, SecondsBuckets())),
      in_flight_(owner.in_flight_.Add({{"method", name}})) {}

void RpcMetrics::Method::Ended(absl::StatusCode code, absl::Duration took) {
  in_flight_.Decrement();
  duration_.Observe(absl::ToDoubleSeconds(took));
  std::atomic<prometheus::Counter*>& slot = requests_[CodeIndex(code)];
  prometheus::Counter* counter = slot;
  if (counter == nullptr) {
    // Add of the same labels returns the same counter: a race is harmless.
    counter = &requests_family_.Add(
        {{"method", name_}, {"code", std::string(StatusCodeName(code))}});
    slot = counter;
  }
  counter->Increment();
}

RpcMetrics::Method& RpcMetrics::ForMethod(std::string_view method) {
  MutexLock lock(mutex_);
  const auto found = methods_.find(method);
  if (found != methods_.end()) {
    return *found->second;
  }
  const std::string name =
      methods_.size() < kMaxMethods ? std::string(method) : "other";
  std::unique_ptr<Method>& entry = methods_[name];
  if (entry == nullptr) {
    entry.reset(new Method(*this, name));
  }
  return *entry;
}

}  // namespace winnow
