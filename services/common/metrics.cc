#include "services/common/metrics.h"

#include <exception>
#include <iterator>
#include <thread>
#include <utility>

#include <prometheus/exposer.h>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "gpu/base/mutex.h"
#include "gpu/base/status.h"
#include "services/common/listen_address.h"

namespace winnow {
namespace {

constexpr absl::Duration kStopTime = absl::Milliseconds(20);

}  // namespace

class Metrics::Collector final : public prometheus::Collectable {
 public:
  explicit Collector(std::shared_ptr<prometheus::Registry> registry)
      : registry_(std::move(registry)) {}

  void Add(Sampler sampler) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    samplers_.push_back(std::move(sampler));
  }

  std::vector<prometheus::MetricFamily> Collect() const override
      ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<prometheus::MetricFamily> families = registry_->Collect();
    MutexLock lock(mutex_);
    for (const Sampler& sampler : samplers_) {
      std::vector<prometheus::MetricFamily> sampled = sampler();
      families.insert(families.end(), std::make_move_iterator(sampled.begin()),
                      std::make_move_iterator(sampled.end()));
    }
    return families;
  }

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  mutable Mutex mutex_;
  std::vector<Sampler> samplers_ ABSL_GUARDED_BY(mutex_);
};

Metrics::Metrics(std::string_view version, std::string_view role)
    : registry_(std::make_shared<prometheus::Registry>()),
      collector_(std::make_shared<Collector>(registry_)) {
  prometheus::BuildGauge()
      .Name("winnow_build_info")
      .Help("Always 1; the labels say what runs.")
      .Register(*registry_)
      .Add({{"version", std::string(version)}, {"role", std::string(role)}})
      .Set(1);
}

Metrics::~Metrics() = default;

prometheus::Counter& Metrics::AddCounter(const std::string& name,
                                         const std::string& help) {
  return prometheus::BuildCounter()
      .Name(name)
      .Help(help)
      .Register(*registry_)
      .Add({});
}

prometheus::Gauge& Metrics::AddGauge(const std::string& name,
                                     const std::string& help) {
  return prometheus::BuildGauge()
      .Name(name)
      .Help(help)
      .Register(*registry_)
      .Add({});
}

prometheus::Histogram& Metrics::AddHistogram(
    const std::string& name, const std::string& help,
    const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Register(*registry_)
      .Add({}, buckets);
}

void Metrics::AddSampler(Sampler sampler) {
  collector_->Add(std::move(sampler));
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  return collector_->Collect();
}

SampledFamily::SampledFamily(std::string_view name, std::string_view help,
                             prometheus::MetricType type) {
  family_.name = name;
  family_.help = help;
  family_.type = type;
}

SampledFamily& SampledFamily::Add(double value,
                                  const prometheus::Labels& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [label, text] : labels) {
    metric.label.push_back({.name = label, .value = text});
  }
  // Only one of the two is read, by the family's type.
  metric.gauge.value = value;
  metric.counter.value = value;
  family_.metric.push_back(std::move(metric));
  return *this;
}

// The exposer throws where a port cannot be had.
class MetricsServer::Impl {
 public:
  explicit Impl(const std::string& address)
      : exposer_(std::vector<std::string>{
            "listening_ports", address, "num_threads", "2",
            "request_timeout_ms", "5000", "enable_keep_alive", "no"}) {}
  prometheus::Exposer& exposer() { return exposer_; }

 private:
  prometheus::Exposer exposer_;
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}

MetricsServer::~MetricsServer() {
  // Civetweb looks every 2 s whether it is to stop, or when a caller comes.
  std::thread caller([this] {
    absl::SleepFor(kStopTime);
    if (const auto address = ParseListenAddress(address_); address.ok()) {
      AcceptsConnections(*address);
    }
  });
  impl_.reset();
  caller.join();
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    std::string_view listen, bool insecure_listen, Metrics& metrics) {
  WINNOW_ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(listen));
  if (address.is_unix()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics are not served on ", address.ToString(),
        "; give --metrics-listen as HOST:PORT, such as 127.0.0.1:7710"));
  }
  WINNOW_RETURN_IF_ERROR(CheckExposure(address, insecure_listen));
  WINNOW_RETURN_IF_ERROR(ProbeBind(address));
  std::unique_ptr<MetricsServer> server;
  try {
    server.reset(new MetricsServer(std::make_unique<Impl>(address.ToString())));
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot serve metrics on ", address.ToString(), ": ",
                     error.what(), "; choose another --metrics-listen"));
  }
  prometheus::Exposer& exposer = server->impl_->exposer();
  exposer.RegisterCollectable(metrics.collector_);
  const std::vector<int> ports = exposer.GetListeningPorts();
  address.port = ports.empty() ? address.port : ports.front();
  server->port_ = address.port;
  server->address_ = address.ToString();
  return server;
}

}  // namespace winnow
