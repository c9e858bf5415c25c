#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/plan/plan.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_spread.h"
#include "services/cli/engine.h"

namespace winnow {

struct BatchBenchOptions {
  std::vector<Policy> policies;
  int sequences = 8;              // that decode at once
  int64_t context_tokens = 4096;  // of each
  int64_t steps = 64;             // tokens that each decodes
  int repeats = 5;
  absl::Duration wait_quiet;  // before each measurement, at most
};

// Several sequences that decode at once, under one policy, beside the roof.
struct BatchFigures {
  Plan plan;
  int sequences = 0;
  int64_t context_tokens = 0;
  int64_t steps = 0;
  Spread decode_tokens_per_s;  // of all sequences together
  // Sequences in a step, on average over all steps: `sequences`, or something
  // kept them apart.
  double mean_batch = 0;
  double step_read_bytes = 0;  // weights once, and every sequence's cache
  Spread read_bytes_per_s;     // plain reads of as many, over and over
  double roof_tokens_per_s = 0;
  Spread other_cores;
};

// Prefills a context of random tokens for every sequence under every policy,
// and has all sequences of a policy step together, from the first step to the
// last, as a decode service does: loaded from the store, through the
// StepBatcher.  Repeats go round the policies.  Loading is not timed.  The
// store is emptied at the end.
//
// OutOfRange, before anything runs, if the tokens do not fit the model;
// ResourceExhausted if the store does not hold all contexts of all policies;
// else errors of prefill and decode.
absl::StatusOr<std::vector<BatchFigures>> BenchBatch(
    Engine& engine, RoofMeter& roofs, const BatchBenchOptions& options);

}  // namespace winnow
