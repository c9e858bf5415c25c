#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/bench/bench_deployment.h"
#include "services/bench/bench_spread.h"

namespace winnow {

struct LoadBenchOptions {
  int rounds = 3;                 // of one stream against several
  int streams = 8;                // at the same time, on contexts in the store
  int64_t context_tokens = 1500;  // of each; about
  int64_t answer_tokens = 128;
  int idle_connections = 1000;
  int held_streams = 200;  // at the same time, each its own connection
  int64_t held_answer_tokens = 32;
};

// Several streams at once against one.
struct StreamFigures {
  int streams = 0;
  int64_t context_tokens = 0;
  int64_t answer_tokens = 0;
  Spread one_tokens_per_s;       // after its first token
  Spread each_tokens_per_s;      // of every stream of all rounds, likewise
  Spread together_tokens_per_s;  // from the first token of all to the last
  Spread together_ratio;         // to one stream, in the same round
  Spread one_first_token_ms;
  Spread each_first_token_ms;
};

// Connections that do nothing.
struct IdleFigures {
  int connections = 0;  // that were ready
  uint64_t resident_before_bytes = 0;
  uint64_t resident_during_bytes = 0;
  uint64_t resident_after_bytes = 0;  // all are closed
  uint64_t resident_again_bytes = 0;  // as many a second time
  double first_token_ms = 0;          // of a request beside them
};

// Many streams at once: what became of each.
struct HeldFigures {
  int streams = 0;
  int accepted_together = 0;  // in flight at the same time, most
  int completed = 0;
  std::map<std::string, int> refused;  // by status code
  double seconds = 0;
  double tokens_per_s = 0;
  Spread first_token_ms;  // of those that completed
  uint64_t resident_before_bytes = 0;
  uint64_t resident_peak_bytes = 0;
  uint64_t resident_after_bytes = 0;
};

struct LoadFigures {
  StreamFigures streams;
  IdleFigures idle;
  HeldFigures held;
};

// Flags of a `winnow serve` that can hold so much.
std::vector<std::string> LoadSettings(const LoadBenchOptions& options);

// Measures a deployment that was started with LoadSettings.  `tokens_per_word`
// of RandomText.  Errors of Generate where a single stream or one of `streams`
// fails; Unavailable if not all idle connections come about.
absl::StatusOr<LoadFigures> BenchLoad(const Deployment& deployment,
                                      const LoadBenchOptions& options,
                                      double tokens_per_word);

}  // namespace winnow
