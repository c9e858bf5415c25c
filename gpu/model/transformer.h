#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/backend.h"
#include "gpu/model/kv_sequence.h"
#include "gpu/model/model.h"

namespace winnow {

// New tokens of one sequence in a step: a chunk of a prefill, or one token of
// a decode.  They continue the sequence at its next position.
struct SequenceChunk {
  KvSequence* sequence = nullptr;
  std::span<const int32_t> ids;  // at least one, each in the vocabulary
};

// Sees the rows of a layer between the append of a chunk's keys and its
// attention; for head scoring.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual absl::Status Observe(int layer, const AttentionArgs& args) = 0;
};

// The forward pass of a pre-norm transformer: grouped-query attention with
// rotary positions over tiles, gated SiLU network.  Llama, Mistral, Qwen2,
// Qwen3.
//
// Runs the new tokens of several sequences in one batch; each sequence gets
// what it would get alone.  Not thread-safe; model and backend outlive it.
class Transformer {
 public:
  // Memory for activations is bounded by `max_tokens`, the most tokens that
  // one step may have over all its chunks.
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(Backend& backend,
                                                             const Model& model,
                                                             int max_tokens);

  const ModelConfig& config() const { return model_.config(); }
  int max_tokens() const { return max_tokens_; }

  // Runs one step: all chunks through all layers.  Afterwards every sequence
  // holds its chunk's tokens, and the hidden states of the step's tokens,
  // numbered chunk after chunk, are ready for Logits.
  //
  // InvalidArgument for an id out of the vocabulary or too many tokens;
  // OutOfRange if a sequence is at its limit (no sequence is changed then
  // besides private memory that was allocated).
  absl::Status Forward(std::span<const SequenceChunk> chunks,
                       AttentionObserver* observer = nullptr);

  // Logits of `count` consecutive tokens of the last step from `first_token`:
  // [count, vocabulary].
  absl::Status Logits(int first_token, int count, float* logits);

 private:
  // A run of a chunk's tokens that see the same folded blocks.
  struct Span {
    KvSequence* sequence = nullptr;
    int first_token = 0;  // in the step
    int count = 0;
    int64_t position = 0;  // of the first token
  };
  struct Activations {
    float* residual;  // [max_tokens, hidden]
    float* normed;    // [max_tokens, hidden]
    float* query;     // [max_tokens, num_heads * head_dim]
    float* key;       // [max_tokens, num_kv_heads * head_dim]
    float* value;     // [max_tokens, num_kv_heads * head_dim]
    float* attended;  // [max_tokens, num_heads * head_dim]
    float* gate;      // [max_tokens, intermediate]
    float* up;        // [max_tokens, intermediate]
  };

  Transformer(Backend& backend, const Model& model, int max_tokens)
      : backend_(backend), model_(model), max_tokens_(max_tokens) {}
  absl::Status AllocateActivations();
  absl::Status CheckChunks(std::span<const SequenceChunk> chunks) const;
  void PlaceTokens(std::span<const SequenceChunk> chunks);
  absl::Status ProjectQkv(const LayerWeights& layer);
  absl::Status Attend(int layer, AttentionObserver* observer);
  absl::Status AttendSpans(int layer, std::span<const Span> spans,
                           AttentionObserver* observer);
  absl::Status FeedForward(const LayerWeights& layer);
  absl::Status Norm(const float* input, const float* scale, float* output,
                    int cols, int64_t rows);
  LinearArgs Projection(const float* input, const WeightView& weight,
                        const float* bias, float* output) const;
  absl::Status AddToResidual(const float* input, const WeightView& weight);

  Backend& backend_;
  const Model& model_;
  const int max_tokens_;
  DeviceBuffer memory_;
  Activations activations_{};

  // The step in flight.
  int num_tokens_ = 0;
  std::vector<int32_t> ids_;
  std::vector<int32_t> positions_;
  std::vector<std::vector<Span>> rounds_;  // i-th span of every chunk
  std::vector<AttentionRow> rows_;         // reused between layers
};

}  // namespace winnow
