#include "gpu/model/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

// Written so that NaN fails.
absl::Status CheckRange(const char* name, double value, bool in_range,
                        const char* range) {
  if (in_range) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be ", range));
}

// Candidates in falling order that top-p and min-p keep: a prefix.
size_t KeptPrefix(std::span<const double> probabilities,
                  const SamplingParameters& parameters) {
  double mass = 0;
  size_t kept = 0;
  while (kept < probabilities.size() &&
         (kept == 0 || mass < parameters.top_p)) {
    mass += probabilities[kept++];
  }
  const double least = parameters.min_p * probabilities.front();
  while (kept > 1 && probabilities[kept - 1] < least) {
    --kept;
  }
  return kept;
}

}  // namespace

absl::Status ValidateSampling(const SamplingParameters& p) {
  WINNOW_RETURN_IF_ERROR(CheckRange(
      "temperature", p.temperature,
      p.temperature == 0 || (p.temperature >= 1e-3f && p.temperature <= 100),
      "0 (greedy) or between 0.001 and 100"));
  WINNOW_RETURN_IF_ERROR(CheckRange("top_k", p.top_k,
                                    p.top_k >= 0 && p.top_k <= 1 << 20,
                                    "between 0 (all) and 1048576"));
  WINNOW_RETURN_IF_ERROR(CheckRange(
      "top_p", p.top_p, p.top_p > 0 && p.top_p <= 1, "above 0 and at most 1"));
  WINNOW_RETURN_IF_ERROR(CheckRange(
      "min_p", p.min_p, p.min_p >= 0 && p.min_p <= 1, "between 0 and 1"));
  return CheckRange("repetition_penalty", p.repetition_penalty,
                    p.repetition_penalty >= 0.01f && p.repetition_penalty <= 10,
                    "between 0.01 and 10");
}

absl::StatusOr<TokenChoice> Sampler::Choose(std::span<const float> logits,
                                            int64_t position,
                                            std::span<const int32_t> previous,
                                            std::optional<int32_t> forced) {
  int32_t best = 0;
  float best_logit = 0;
  float log_sum_exp = 0;
  const absl::Status top = backend_.TopLogits({.logits = logits,
                                               .ids = {&best, 1},
                                               .values = {&best_logit, 1},
                                               .log_sum_exp = &log_sum_exp});
  if (!top.ok() || !std::isfinite(log_sum_exp)) {
    return absl::InternalError(absl::StrCat(
        "the logits at position ", position,
        " are not finite; the model's weights are damaged or out of range"));
  }
  int32_t id = best;
  if (forced.has_value()) {
    if (*forced < 0 || static_cast<size_t>(*forced) >= logits.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("forced token id ", *forced,
                       " is not in the vocabulary of ", logits.size()));
    }
    id = *forced;
  } else if (parameters_.temperature > 0 ||
             parameters_.repetition_penalty != 1) {
    WINNOW_ASSIGN_OR_RETURN(id, Draw(logits, position, previous));
  }
  return TokenChoice{.id = id,
                     .log_probability = logits[id] - log_sum_exp,
                     .greedy = id == best};
}

absl::StatusOr<int32_t> Sampler::Draw(std::span<const float> logits,
                                      int64_t position,
                                      std::span<const int32_t> previous) {
  penalised_.assign(logits.begin(), logits.end());
  const auto recent =
      previous.last(std::min<size_t>(previous.size(), kPenaltyTokens));
  for (const int32_t id : recent) {
    // Each token once, however often it came: from the untouched logit.
    const float logit = logits[id];
    penalised_[id] = logit > 0 ? logit / parameters_.repetition_penalty
                               : logit * parameters_.repetition_penalty;
  }
  if (parameters_.temperature == 0) {
    return static_cast<int32_t>(
        std::max_element(penalised_.begin(), penalised_.end()) -
        penalised_.begin());
  }
  return DrawFrom(penalised_, position);
}

absl::StatusOr<int32_t> Sampler::DrawFrom(std::span<const float> penalised,
                                          int64_t position) {
  const size_t limit =
      parameters_.top_k == 0
          ? penalised.size()
          : std::min<size_t>(parameters_.top_k, penalised.size());
  ids_.resize(limit);
  values_.resize(limit);
  float log_sum_exp = 0;  // of no use here
  WINNOW_RETURN_IF_ERROR(backend_.TopLogits({.logits = penalised,
                                             .ids = ids_,
                                             .values = values_,
                                             .log_sum_exp = &log_sum_exp}));
  std::vector<double> probabilities(limit);
  double sum = 0;
  for (size_t i = 0; i < limit; ++i) {
    probabilities[i] = std::exp((double{values_[i]} - values_.front()) /
                                parameters_.temperature);
    sum += probabilities[i];
  }
  for (double& probability : probabilities) {
    probability /= sum;
  }
  const size_t kept = KeptPrefix(probabilities, parameters_);
  double mass = 0;
  for (size_t i = 0; i < kept; ++i) {
    mass += probabilities[i];
  }
  double left = UniformAt(parameters_.seed, position) * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    left -= probabilities[i];
    if (left < 0) {
      return ids_[i];
    }
  }
  return ids_[kept - 1];
}

}  // namespace winnow
