#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "gpu/base/clock.h"
#include "gpu/model/tokenizer.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/generation.h"
#include "services/gateway/text_request.h"
#include "services/gateway/text_stream.h"
#include "winnow/v1/generation.pb.h"

namespace winnow {

// Writes one answer as events: Accept, Take for every token, Finish.  Not
// thread-safe.
class AnswerStream {
 public:
  // Writes one event; an error ends the answer.
  using Write = absl::FunctionRef<absl::Status(const v1::GenerateResponse&)>;
  struct Parts {
    const Tokenizer& tokenizer;
    GatewayMetrics* metrics;  // null: nothing is counted
    const Clock& clock;
    absl::Duration began;  // when the request came, by the clock
  };

  // All arguments outlive the stream.
  AnswerStream(const Parts& parts, const TextRequest& request, Write write)
      : parts_(parts),
        log_probabilities_(request.log_probabilities),
        write_(write),
        text_(request.stop),
        last_at_(parts.began) {}

  absl::Status Accept(const v1::Accepted& accepted);
  // Whether another token is wanted: a stop text or an error ends the answer.
  bool Take(const TokenChoice& token);
  // Sets reason and times of `result` as the caller saw them, and ends the
  // stream, if no event failed.
  absl::Status Finish(GenerationResult& result);

  // Of the first event that could not be written.
  const absl::Status& written() const { return written_; }

 private:
  void Count(bool first);

  const Parts parts_;
  const bool log_probabilities_;
  const Write write_;
  TextStream text_;
  absl::Status written_;
  int64_t tokens_ = 0;
  absl::Duration first_token_;  // since the request came
  absl::Duration last_at_;
};

}  // namespace winnow
