#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "gpu/model/sampler.h"
#include "services/common/call.h"

namespace winnow {

struct DecodeRequest {
  Manifest manifest;
  int32_t first_token = 0;  // at manifest.next_position, chosen by prefill
  int64_t max_tokens = 0;   // tokens after the first; 0: none
  SamplingParameters sampling;
  bool ignore_eos = false;
  // Taken one after the other instead of choices, for scoring; then max_tokens
  // is their number and end-of-text tokens do not stop.
  std::vector<int32_t> forced;
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled };
std::string_view FinishReasonName(FinishReason reason);  // "stop", ...

struct DecodeResult {
  std::vector<TokenChoice> tokens;  // after the first
  FinishReason finish_reason = FinishReason::kLength;
  uint64_t pulled_bytes = 0;
  absl::Duration queue;   // until the sequence was admitted
  absl::Duration pull;    // until the sequence is loaded
  absl::Duration decode;  // all steps
};

// Called with every token as it is chosen; false stops the decode.
using TokenSink = absl::FunctionRef<bool(const TokenChoice&)>;

// Who generates from a cache that the store holds: the pipeline of this
// process, or a decode service.  Thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;

  // Takes over the lease of the manifest, or a new one if that has ended, and
  // generates.  The lease ends with the call.  `sink` runs on the caller's
  // thread.
  //
  // Errors:
  //   INVALID_ARGUMENT     the manifest contradicts itself, a token or a
  //                        sampling parameter is out of range.
  //   FAILED_PRECONDITION  the manifest is of another model or dtype.
  //   OUT_OF_RANGE         more positions than the model has.
  //   RESOURCE_EXHAUSTED   no memory or place for a further sequence.
  //   ABORTED              the store has lost a segment; says why.  Prefill
  //                        again.
  //   UNAVAILABLE          the service does not answer.
  //   CANCELLED, DEADLINE_EXCEEDED  as the call says.
  virtual absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                           const Call& call,
                                           TokenSink sink) = 0;
};

}  // namespace winnow
