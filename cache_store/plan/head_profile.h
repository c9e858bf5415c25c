#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace winnow {

// Parameters of the rule that turns scores into classes (RazorAttention,
// section 3.2; echo_min is ours: heads that echo are few and all matter).
struct HeadSelectionRule {
  double induction_share = 0.14;  // top share of query heads by induction
  double echo_share = 0.01;       // top share of query heads by echo
  double echo_min = 0.3;          // heads with such an echo score count too

  bool operator==(const HeadSelectionRule&) const = default;
};

// Scores of one query head on the calibration text.
struct HeadScores {
  float echo = 0;
  float induction = 0;
};

// What is known about the heads of one model: a file with a digest.
//
// JSON, one object: format_version, model_digest (hex), model_name, num_layers,
// num_heads, num_kv_heads, echo and induction [layers][query heads], rule,
// retrieval [[layer, KV head], ...], weights [layers][KV heads], window,
// calibration {block, repeats, ids or seed}, digest (SHA-256 over the
// canonical form of everything else).
struct HeadProfile {
  std::array<uint8_t, 32> model_digest{};
  std::string model_name;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  std::vector<HeadScores> scores;  // [layer * num_heads + query head]
  HeadSelectionRule rule;
  std::vector<bool> retrieval;  // [layer * num_kv_heads + KV head]
  std::vector<float> weights;   // compensation, [layer * num_kv_heads + head]
  int window = 256;             // recommended, in tokens; whole blocks
  int calibration_block = 0;    // distinct tokens K
  int calibration_repeats = 0;  // R
  std::vector<int32_t> calibration_ids;  // may be empty where a seed made them
  uint64_t calibration_seed = 0;

  // SHA-256 over the canonical JSON without the member "digest".
  std::array<uint8_t, 32> Digest() const;
};

// Classes of the KV heads by `rule`: round(share * query heads) heads with the
// highest induction, joined with those by echo and all with echo >= echo_min;
// equal scores in the order (layer, head); a KV head is a retrieval head if any
// query head of its group is chosen.
std::vector<bool> SelectRetrievalHeads(const std::vector<HeadScores>& scores,
                                       int num_layers, int num_heads,
                                       int num_kv_heads,
                                       const HeadSelectionRule& rule);

// The file of a profile, and back.  Parsing trusts nothing: InvalidArgument
// names the member that is missing, out of range, or contradicts the digest.
std::string FormatHeadProfile(const HeadProfile& profile);
absl::StatusOr<HeadProfile> ParseHeadProfile(std::string_view json);
absl::StatusOr<HeadProfile> LoadHeadProfile(const std::string& path);

// The profile that ships for the model with this digest.  NotFound if there is
// none; says how to make one.
absl::StatusOr<HeadProfile> FindBuiltInProfile(
    const std::array<uint8_t, 32>& model_digest);

}  // namespace winnow
