#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/plan/policy.h"
#include "services/bench/bench_load.h"
#include "services/bench/bench_spread.h"

namespace winnow {

struct ServeBenchOptions {
  std::string model;
  int rounds = 5;
  int64_t context_tokens = 3000;  // about
  int64_t answer_tokens = 32;
  // Of both stores.  The rounds fill them, so that what the load takes is not
  // the cache.
  uint64_t store_bytes = uint64_t{512} << 20;
  LoadBenchOptions load;
  bool with_load = true;      // else the answers alone
  absl::Duration wait_quiet;  // before each answer, at most
};

// What a caller sees of one way to run the system; milliseconds.
struct AnswerFigures {
  Spread first_token_ms;
  Spread second_token_ms;
  Spread inter_token_ms;  // of each answer's median
  Spread total_ms;
  // As the server says.
  Spread prefill_ms;
  Spread write_ms;  // part of prefill
  Spread pull_ms;
  Spread decode_ms;
};

// A policy: one process against a process for each role, on the same contexts
// in turn.  Ratios are of the two answers of one round, split over one.
struct PolicyFigures {
  Policy policy;
  int64_t context_tokens = 0;  // least
  AnswerFigures one;
  AnswerFigures split;
  Spread first_token_ratio;
  Spread second_token_ratio;
  Spread inter_token_ratio;
  Spread total_ratio;
};

struct ServeReport {
  int rounds = 0;
  int64_t answer_tokens = 0;
  uint64_t store_bytes = 0;
  std::vector<PolicyFigures> policies;
  uint64_t one_resident_bytes = 0;  // before the first answer
  uint64_t split_resident_bytes = 0;
  std::optional<LoadFigures> load;  // of the one process
  double other_cores = 0;
};

// Starts both, as processes, and measures.  Every round has contexts that no
// store has seen; both ways must give the same tokens.
//
// Errors of RunningRole and of GenerationService.Generate; Internal if the
// tokens of a round differ.
absl::StatusOr<ServeReport> BenchServe(const ServeBenchOptions& options);

}  // namespace winnow
