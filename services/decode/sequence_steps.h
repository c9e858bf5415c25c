#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/model/kv_sequence.h"
#include "gpu/model/model_config.h"
#include "gpu/model/sampler.h"
#include "gpu/model/transformer.h"
#include "services/common/decoder.h"

namespace winnow {

// What one sequence feeds into every step and makes of its logits: the state
// of a decode besides the cache.  A step is Reserve, a forward pass over
// NextChunk, Choose.
//
// Tokens depend on the sequence alone, not on whom it shares its steps with.
// Not thread-safe.
class SequenceSteps {
 public:
  // `sequence` holds the request's manifest; all but the sampling parameters
  // are borrowed.
  SequenceSteps(Backend& backend, const ModelConfig& config,
                const DecodeRequest& request, KvSequence& sequence);

  // No step is left: the tokens asked for were chosen, or the last one ends
  // the text.
  bool done() const { return num_steps_ == request_.max_tokens || ended_; }
  // Of a sequence that is done.
  FinishReason finish_reason() const {
    return ended_ ? FinishReason::kStop : FinishReason::kLength;
  }

  // Makes room for the next token's keys and values.
  absl::Status Reserve() { return sequence_.Reserve(1); }
  SequenceChunk NextChunk() const {
    return {.sequence = &sequence_, .ids = {&previous_.back(), 1}};
  }
  // The next token, given the logits [vocabulary] of the last chunk.
  absl::StatusOr<TokenChoice> Choose(std::span<const float> logits);

 private:
  void Append(int32_t id);

  const ModelConfig& config_;
  const DecodeRequest& request_;
  KvSequence& sequence_;
  Sampler sampler_;
  std::vector<int32_t> previous_;  // for the penalty; the last is fed next
  int64_t num_steps_ = 0;          // made
  bool ended_ = false;             // by an end-of-text token
};

}  // namespace winnow
