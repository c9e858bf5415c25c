#include "services/bench/bench_engine_flags.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "gpu/base/status.h"
#include "services/common/units.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

void AddMeasurementFlags(CLI::App& command, EngineBenchFlags& flags) {
  constexpr int64_t kMostTokens = int64_t{1} << 24;
  constexpr int kMostRepeats = 1000;
  command.add_option("--contexts", flags.contexts, "context lengths in tokens")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->capture_default_str();
  command
      .add_option("--policies", flags.policies,
                  "policies to compare, with parameters: full,razor,window=128")
      ->capture_default_str();
  command.add_option("--repeats", flags.repeats, "measurements of each figure")
      ->check(CLI::Range(1, kMostRepeats))
      ->capture_default_str();
  command
      .add_option("--decode-tokens", flags.decode_tokens,
                  "tokens generated after each context")
      ->check(CLI::Range(int64_t{2}, kMostTokens))
      ->capture_default_str();
}

void AddSectionFlags(CLI::App& command, EngineBenchFlags& flags) {
  constexpr int64_t kMostTokens = int64_t{1} << 24;
  constexpr int kMostSequences = 1024;
  command
      .add_option("--sections", flags.sections,
                  "what to measure: engine, batch, attention, store")
      ->delimiter(',')
      ->check(CLI::IsMember({"engine", "batch", "attention", "store"}))
      ->capture_default_str();
  command
      .add_option("--batch-sequences", flags.batch_sequences,
                  "sequences that decode at once in the section batch")
      ->check(CLI::Range(1, kMostSequences))
      ->capture_default_str();
  command
      .add_option("--batch-context", flags.batch_context,
                  "context of each of them, in tokens")
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->capture_default_str();
}

void AddConditionFlags(CLI::App& command, EngineBenchFlags& flags) {
  constexpr int kMostWaitSeconds = 3600;
  command
      .add_option("--text-file", flags.text_file,
                  "contexts from this text; default: random tokens")
      ->type_name("FILE");
  command
      .add_option("--working-set", flags.working_set,
                  "memory that roofs and attention read; more than caches hold")
      ->capture_default_str()
      ->type_name("SIZE");
  command
      .add_option("--wait-quiet", flags.wait_quiet_seconds,
                  "seconds to wait, at most, before each measurement until "
                  "other processes are idle")
      ->check(CLI::Range(0, kMostWaitSeconds))
      ->capture_default_str();
}

}  // namespace

void EngineBenchFlags::AddTo(CLI::App& command) {
  model.AddTo(command);
  AddMeasurementFlags(command, *this);
  AddSectionFlags(command, *this);
  AddConditionFlags(command, *this);
  output.AddTo(command);
}

bool EngineBenchFlags::Has(std::string_view section) const {
  return std::ranges::find(sections, section) != sections.end();
}

absl::StatusOr<std::vector<Policy>> EngineBenchFlags::ParsePolicies() const {
  // "full,razor,window=128,streaming": a comma ends a policy unless a parameter
  // follows.
  std::vector<std::string> texts;
  for (const absl::string_view part : absl::StrSplit(policies, ',')) {
    if (!texts.empty() && absl::StrContains(part, '=')) {
      absl::StrAppend(&texts.back(), ",", part);
    } else {
      texts.emplace_back(part);
    }
  }
  std::vector<Policy> parsed;
  for (const std::string& text : texts) {
    WINNOW_ASSIGN_OR_RETURN(Policy policy, ParsePolicy(text));
    if (policy.kind == PolicyKind::kRazor) {
      policy.min_length = 0;
    }
    parsed.push_back(policy);
  }
  return parsed;
}

absl::StatusOr<size_t> EngineBenchFlags::ParseWorkingSet() const {
  constexpr uint64_t kLeast = uint64_t{1} << 20;
  constexpr uint64_t kMost = uint64_t{1} << 40;
  WINNOW_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(working_set));
  if (bytes < kLeast || bytes > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("--working-set is ", working_set,
                     "; it must be between 1MiB and 1TiB"));
  }
  return bytes;
}

}  // namespace winnow
