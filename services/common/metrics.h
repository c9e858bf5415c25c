#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/registry.h>

#include "absl/status/statusor.h"

namespace winnow {

// All metrics of a process: what is counted, and what is read when somebody
// asks.  Metrics are structs of references, resolved once (rpc_metrics.h and
// the files <role>_metrics.h); label values come from the code, never from
// requests.
//
// Thread-safe.  Outlives every struct built on it.
class Metrics {
 public:
  // Reads families of gauges and counters from somewhere else at the time of a
  // scrape.  Runs on the threads of the metrics server; short.
  using Sampler = std::function<std::vector<prometheus::MetricFamily>()>;

  // Adds winnow_build_info{version, role} 1.
  Metrics(std::string_view version, std::string_view role);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  prometheus::Registry& registry() { return *registry_; }

  // Families of one series without labels.
  prometheus::Counter& AddCounter(const std::string& name,
                                  const std::string& help);
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help);
  prometheus::Histogram& AddHistogram(
      const std::string& name, const std::string& help,
      const prometheus::Histogram::BucketBoundaries& buckets);

  // Before the server starts; what the sampler borrows outlives the server.
  void AddSampler(Sampler sampler);

  // All families now, samplers included.
  std::vector<prometheus::MetricFamily> Collect() const;

 private:
  friend class MetricsServer;
  class Collector;

  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<Collector> collector_;  // shared with the exposer
};

// A family for a sampler: gauges or counters, one series for each Add.
class SampledFamily {
 public:
  SampledFamily(std::string_view name, std::string_view help,
                prometheus::MetricType type);
  SampledFamily& Add(double value, const prometheus::Labels& labels = {});
  const prometheus::MetricFamily& family() const { return family_; }

 private:
  prometheus::MetricFamily family_;
};

// Serves `/metrics` in the text format over HTTP.  Only loopback unless
// insecure_listen; no UNIX sockets.
class MetricsServer {
 public:
  // `metrics` outlives the server.  InvalidArgument for an address that is
  // malformed or not allowed, FailedPrecondition for one that is taken.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      std::string_view listen, bool insecure_listen, Metrics& metrics);
  ~MetricsServer();

  int port() const { return port_; }
  // As bound: "127.0.0.1:7710".
  const std::string& address() const { return address_; }

 private:
  class Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;  // keeps civetweb out of this header
  int port_ = 0;
  std::string address_;
};

}  // namespace winnow
