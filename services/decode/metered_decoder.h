#pragma once

#include "services/common/decoder.h"
#include "services/common/miss_status.h"
#include "services/decode/decode_metrics.h"

namespace winnow {

// Counts what a decoder does.  Thread-safe; both arguments outlive it.
class MeteredDecoder final : public Decoder {
 public:
  MeteredDecoder(Decoder& decoder, DecodeMetrics& metrics)
      : decoder_(decoder), metrics_(metrics) {}

  absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                   const Call& call, TokenSink sink) override {
    auto result = decoder_.Run(request, call, sink);
    if (result.ok()) {
      metrics_.Count(*result);
    } else {
      metrics_.CountMiss(MissOf(result.status()));
    }
    return result;
  }

 private:
  Decoder& decoder_;
  DecodeMetrics& metrics_;
};

}  // namespace winnow
