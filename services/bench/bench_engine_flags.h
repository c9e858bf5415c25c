#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "cache_store/plan/policy.h"
#include "services/bench/bench_output.h"
#include "services/cli/options.h"
#include <CLI/App.hpp>

namespace winnow {

// `winnow bench engine` as it stands on the command line.
struct EngineBenchFlags {
  ModelFlags model;
  std::vector<int64_t> contexts = {512, 2048, 4096, 8000};
  std::string policies = "full,razor";
  std::vector<std::string> sections = {"engine", "attention", "store"};
  std::string text_file;
  std::string working_set = "1GiB";
  BenchOutput output;
  int repeats = 5;
  int64_t decode_tokens = 32;
  int batch_sequences = 8;
  int64_t batch_context = 4096;
  int wait_quiet_seconds = 0;

  void AddTo(CLI::App& command);
  bool Has(std::string_view section) const;
  // Those of `policies`.  Short contexts are measured under razor as well, not
  // as full.  InvalidArgument names the policy that is none.
  absl::StatusOr<std::vector<Policy>> ParsePolicies() const;
  // Bytes of `working_set`, 1 MiB to 1 TiB, or InvalidArgument.
  absl::StatusOr<size_t> ParseWorkingSet() const;
};

}  // namespace winnow
