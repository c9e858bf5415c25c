#pragma once

#include "gpu/model/model_config.h"
#include "services/common/prefiller.h"
#include "services/prefill/prefill_metrics.h"

namespace winnow {

// Counts what a prefiller does.  Thread-safe; all arguments outlive it.
class MeteredPrefiller final : public Prefiller {
 public:
  MeteredPrefiller(Prefiller& prefiller, const ModelConfig& config,
                   PrefillMetrics& metrics)
      : prefiller_(prefiller), config_(config), metrics_(metrics) {}

  absl::StatusOr<PrefillResult> Run(const PrefillRequest& request,
                                    const Call& call) override {
    auto result = prefiller_.Run(request, call);
    if (result.ok()) {
      const Manifest& manifest = result->manifest;
      metrics_.Count(*result,
                     manifest.num_tokens *
                         config_.KvBytesPerToken(manifest.identity.dtype));
    }
    return result;
  }

 private:
  Prefiller& prefiller_;
  const ModelConfig& config_;
  PrefillMetrics& metrics_;
};

}  // namespace winnow
