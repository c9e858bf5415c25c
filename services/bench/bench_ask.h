#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/channel.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "services/gateway/generation.h"
#include "services/gateway/text_request.h"

namespace winnow {

// Words by chance, the same for the same seed; no two seeds share a prefix.
std::string RandomText(int64_t num_words, uint64_t seed);

// One call of GenerationService.Generate as its caller sees it.  Times are
// Clock::Real()'s, so that those of several calls can be compared.
struct AskTimes {
  absl::Status status;
  int64_t context_tokens = 0;
  absl::Duration started;
  absl::Duration accepted;             // zero: it was not
  std::vector<absl::Duration> tokens;  // when each came
  absl::Duration finished;             // when the call ended, well or not
  std::vector<int32_t> ids;
  GenerationResult result;  // the server's own times; set if status is OK

  // Since the start; of a call that succeeded with two tokens or more.
  absl::Duration FirstToken() const { return tokens[0] - started; }
  absl::Duration SecondToken() const { return tokens[1] - started; }
  absl::Duration Total() const { return finished - started; }
  // Median between neighbours.
  absl::Duration InterToken() const;
  double TokensPerSecond() const;  // after the first
};

// Asks and waits until the call has ended, `timeout` at most.  Internal if the
// answer is OK and yet not complete, with fewer than two tokens.
// Thread-safe.
AskTimes Ask(const std::shared_ptr<grpc::Channel>& channel,
             const TextRequest& request, absl::Duration timeout);

}  // namespace winnow
