#include "services/decode/sequence_steps.h"

#include <algorithm>
#include <optional>

#include "gpu/base/status.h"

namespace winnow {

SequenceSteps::SequenceSteps(Backend& backend, const ModelConfig& config,
                             const DecodeRequest& request, KvSequence& sequence)
    : config_(config),
      request_(request),
      sequence_(sequence),
      sampler_(backend, request.sampling),
      previous_(request.manifest.recent_ids) {
  Append(request.first_token);
}

absl::StatusOr<TokenChoice> SequenceSteps::Choose(
    std::span<const float> logits) {
  const auto forced = request_.forced.empty()
                          ? std::nullopt
                          : std::optional(request_.forced[num_steps_]);
  WINNOW_ASSIGN_OR_RETURN(
      const TokenChoice choice,
      sampler_.Choose(logits, sequence_.num_tokens(), previous_, forced));
  ++num_steps_;
  Append(choice.id);
  return choice;
}

void SequenceSteps::Append(int32_t id) {
  previous_.push_back(id);
  ended_ = request_.forced.empty() && !request_.ignore_eos &&
           std::ranges::count(config_.end_of_text, id) > 0;
}

}  // namespace winnow
