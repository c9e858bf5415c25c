#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include "absl/status/status.h"

#include "services/common/metrics.h"

namespace winnow {

// Metrics of the gateway.  Thread-safe.
struct GatewayMetrics {
  explicit GatewayMetrics(Metrics& metrics);

  // A request that has ended.
  void CountRequest(absl::StatusCode code);

  // From the request to the first token sent:
  // winnow_gateway_time_to_first_token_seconds.
  prometheus::Histogram& time_to_first_token;
  prometheus::Histogram& inter_token;  // winnow_gateway_inter_token_seconds
  prometheus::Histogram& tokenize;     // winnow_gateway_tokenize_seconds
  prometheus::Counter& prompt_tokens;  // winnow_gateway_prompt_tokens_total
  // winnow_gateway_completion_tokens_total
  prometheus::Counter& completion_tokens;
  // winnow_gateway_recomputed_prefills_total
  prometheus::Counter& recomputed_prefills;
  prometheus::Gauge& active_streams;  // winnow_gateway_active_streams

 private:
  // winnow_gateway_requests_total{code}
  prometheus::Family<prometheus::Counter>& requests_;
};

}  // namespace winnow
