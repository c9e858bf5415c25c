#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/backend.h"

namespace winnow {

// Tokens that the repetition penalty looks back on.
inline constexpr int kPenaltyTokens = 64;

// How a token is chosen from logits.  Applied in this order: repetition
// penalty, temperature, top-k, top-p, min-p, draw.
struct SamplingParameters {
  float temperature = 0;         // 0: the largest logit; else in (0, 100]
  int top_k = 0;                 // keep the k largest; 0: all
  float top_p = 1;               // keep the smallest set of mass p, in (0, 1]
  float min_p = 0;               // keep p >= min_p * largest p, in [0, 1]
  float repetition_penalty = 1;  // logits of the last 64 tokens are divided
                                 // (positive) or multiplied; in (0, 10]
  uint64_t seed = 0;
};

// InvalidArgument names the parameter that is out of range or not a number.
absl::Status ValidateSampling(const SamplingParameters& parameters);

// A chosen token.
struct TokenChoice {
  int32_t id = 0;
  float log_probability = 0;  // natural, under the model's own distribution:
                              // before penalty and temperature
  bool greedy = false;        // it has the largest logit
};

// Chooses tokens from logits.
//
// The random number of a position is a function of (seed, position) alone
// (gpu/base/counter_random.h), so the result does not depend on which
// process draws it.  Not thread-safe; the backend outlives the sampler.
class Sampler {
 public:
  // `parameters` are valid.
  Sampler(Backend& backend, const SamplingParameters& parameters)
      : backend_(backend), parameters_(parameters) {}

  // The token at `position` given its logits [vocabulary] and the tokens
  // before it, of which the last kPenaltyTokens count.  `forced` is taken
  // instead of a choice, for scoring.
  absl::StatusOr<TokenChoice> Choose(std::span<const float> logits,
                                     int64_t position,
                                     std::span<const int32_t> previous,
                                     std::optional<int32_t> forced);

 private:
  absl::StatusOr<int32_t> Draw(std::span<const float> logits, int64_t position,
                               std::span<const int32_t> previous);
  absl::StatusOr<int32_t> DrawFrom(std::span<const float> penalised,
                                   int64_t position);

  Backend& backend_;
  const SamplingParameters parameters_;
  std::vector<float> penalised_;  // reused
  std::vector<int32_t> ids_;
  std::vector<float> values_;
};

}  // namespace winnow
