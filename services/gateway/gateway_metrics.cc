#include "services/gateway/gateway_metrics.h"

#include <string>

#include "services/common/rpc_metrics.h"

namespace winnow {
namespace {

// Seconds between two tokens: finer than those of whole requests.
const prometheus::Histogram::BucketBoundaries kTokenBuckets = {
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03,
    0.05,   0.075, 0.1,   0.2,   0.5,   1,     2,    5,     10,   30};

}  // namespace

GatewayMetrics::GatewayMetrics(Metrics& metrics)
    : time_to_first_token(metrics.AddHistogram(
          "winnow_gateway_time_to_first_token_seconds",
          "From a request to its first token.", SecondsBuckets())),
      inter_token(metrics.AddHistogram("winnow_gateway_inter_token_seconds",
                                       "Between two tokens of a request.",
                                       kTokenBuckets)),
      tokenize(metrics.AddHistogram("winnow_gateway_tokenize_seconds",
                                    "Template and tokens of a request.",
                                    SecondsBuckets())),
      prompt_tokens(metrics.AddCounter("winnow_gateway_prompt_tokens_total",
                                       "Tokens of contexts and prompts.")),
      completion_tokens(metrics.AddCounter(
          "winnow_gateway_completion_tokens_total", "Tokens sent to callers.")),
      recomputed_prefills(metrics.AddCounter(
          "winnow_gateway_recomputed_prefills_total",
          "Prefills made again because the store lost a cache.")),
      active_streams(metrics.AddGauge("winnow_gateway_active_streams",
                                      "Requests that are being answered.")),
      requests_(prometheus::BuildCounter()
                    .Name("winnow_gateway_requests_total")
                    .Help("Requests that have ended.")
                    .Register(metrics.registry())) {
  // So that a rate over it is 0 and not absent before the first request.
  requests_.Add({{"code", "OK"}});
}

void GatewayMetrics::CountRequest(absl::StatusCode code) {
  requests_.Add({{"code", std::string(StatusCodeName(code))}}).Increment();
}

}  // namespace winnow
