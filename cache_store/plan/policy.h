#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace winnow {

// How a context is kept.
enum class PolicyKind : uint8_t { kFull, kRazor, kStreaming };

enum class Compensation : uint8_t {
  kProfile,  // the weights of the head profile
  kOn,       // weight 1 everywhere: the paper's
  kOff,      // no compensation entry
};

// A policy with all its parameters (design, section 1).  The value of every
// parameter that the kind does not use is its default.
struct Policy {
  PolicyKind kind = PolicyKind::kFull;
  int sinks = 4;              // first tokens kept by local heads, at most 64
  std::optional<int> window;  // tokens, whole blocks; absent: the profile's
                              // (razor), 1,024 (streaming)
  int window_divisor = 0;     // the paper's C; 0: off
  std::optional<double> induction_share;  // absent: the profile's own classes
  std::optional<double> echo_share;
  std::optional<double> echo_min;
  bool echo = true;  // off: an ablation without echo heads
  Compensation compensation = Compensation::kProfile;
  int slack = 256;                       // tokens, whole blocks
  int min_length = 1024;                 // shorter contexts are kept as full
  std::optional<uint64_t> random_heads;  // an ablation: the seed of as many
                                         // random heads instead

  bool operator==(const Policy&) const = default;
};

// Parses "razor", "razor,window=256,echo=off", ...
//
// InvalidArgument for an unknown policy or parameter (names the nearest), a
// parameter given twice, one that the policy does not have, or a value out of
// range (names the range).
absl::StatusOr<Policy> ParsePolicy(std::string_view text);

// Every parameter that the policy uses, in a fixed order, as (name, value);
// ParsePolicy reads "kind,name=value,..." back to the same policy.
std::vector<std::pair<std::string, std::string>> PolicyParameters(
    const Policy& policy);
std::string_view PolicyName(PolicyKind kind);
std::string FormatPolicy(const Policy& policy);

}  // namespace winnow
