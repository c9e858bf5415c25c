#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/bench/bench_machine.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_spread.h"
#include "services/cli/engine.h"
#include "services/gateway/generation.h"

namespace winnow {

struct EngineBenchOptions {
  std::vector<int64_t> contexts;  // tokens
  std::vector<Policy> policies;
  int repeats = 5;
  int64_t decode_tokens = 32;     // generated, the first included; >= 2
  std::vector<int32_t> text_ids;  // repeated as needed; empty: random ids
  absl::Duration wait_quiet;      // before each measurement, at most
};

// One context length under one policy, beside its roofs.
struct EngineFigures {
  int64_t context_tokens = 0;
  Plan plan;
  Spread prefill_tokens_per_s;  // over the time until the manifest is there
  Spread decode_tokens_per_s;   // steps after the first token
  Spread time_to_first_token_ms;
  Spread compaction_share;  // of the prefill
  Spread write_share;       // of the prefill, into memory never used before
  Spread other_cores;
  KvBytes kv;
  double decode_read_bytes = 0;  // of a step: weights and cache
  // Plain reads of as many bytes, over and over, all threads.
  Spread decode_read_bytes_per_s;
  double prefill_operations = 0;  // matrices and attention
  // The operations at the GEMM roof; the bytes at the rate above.
  double prefill_roof_tokens_per_s = 0;
  double decode_roof_tokens_per_s = 0;
};

// Floating-point operations of a prefill of `num_tokens`: all layers' matrices
// and the causal half of attention.
double PrefillOperations(const Model& model, int64_t num_tokens);

// Bytes that a decode step reads when `num_steps` of an average sequence have
// half passed: weights, and the cache as `plan` keeps it.
// `bytes_per_entry`: key and value of one token in one KV head.
double DecodeReadBytes(const Model& model, const Plan& plan,
                       uint64_t bytes_per_entry, int64_t num_steps);

// Resident memory after a first token, before anything is measured.
absl::StatusOr<ResidentMemory> MemoryAfterOneToken(Engine& engine);

// Generates after every context under every policy, through prefill, store and
// decode.  Repeats go round all of them, so that drift hits all alike; a
// sample of the roofs is taken in each round.  The store is emptied after
// every run: every prefill writes all of its segments.
//
// OutOfRange, before anything runs, if a context and its decoded tokens do not
// fit the model; else errors of Generate.
absl::StatusOr<std::vector<EngineFigures>> BenchEngine(
    Engine& engine, RoofMeter& roofs, const EngineBenchOptions& options);

}  // namespace winnow
