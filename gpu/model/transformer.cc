#include "gpu/model/transformer.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Create(
    Backend& backend, const Model& model, int max_tokens) {
  if (max_tokens < 1) {
    return absl::InvalidArgumentError("a step needs room for one token");
  }
  std::unique_ptr<Transformer> transformer(
      new Transformer(backend, model, max_tokens));
  WINNOW_RETURN_IF_ERROR(transformer->AllocateActivations());
  return transformer;
}

absl::Status Transformer::AllocateActivations() {
  const ModelConfig& config = model_.config();
  const int queries = config.num_heads * config.head_dim;
  const int keys = config.num_kv_heads * config.head_dim;
  const std::pair<float**, int> parts[] = {
      {&activations_.residual, config.hidden},
      {&activations_.normed, config.hidden},
      {&activations_.query, queries},
      {&activations_.key, keys},
      {&activations_.value, keys},
      {&activations_.attended, queries},
      {&activations_.gate, config.intermediate},
      {&activations_.up, config.intermediate},
  };
  size_t floats_per_token = 0;
  for (const auto& [address, width] : parts) {
    floats_per_token += width;
  }
  WINNOW_ASSIGN_OR_RETURN(
      memory_,
      backend_.Allocate(floats_per_token * max_tokens_ * sizeof(float)));
  float* next = memory_.as<float>();
  for (const auto& [address, width] : parts) {
    *address = next;
    next += static_cast<size_t>(width) * max_tokens_;
  }
  return absl::OkStatus();
}

absl::Status Transformer::Forward(std::span<const SequenceChunk> chunks,
                                  AttentionObserver* observer) {
  WINNOW_RETURN_IF_ERROR(CheckChunks(chunks));
  PlaceTokens(chunks);
  const ModelWeights& weights = model_.weights();
  const Activations& a = activations_;
  const int hidden = config().hidden;

  WINNOW_RETURN_IF_ERROR(backend_.Embed(
      {.ids = ids_, .weight = weights.embedding, .output = a.residual}));
  for (int layer = 0; layer < config().num_layers; ++layer) {
    const LayerWeights& block = weights.layers[layer];
    WINNOW_RETURN_IF_ERROR(
        Norm(a.residual, block.attention_norm, a.normed, hidden, num_tokens_));
    WINNOW_RETURN_IF_ERROR(ProjectQkv(block));
    WINNOW_RETURN_IF_ERROR(Attend(layer, observer));
    WINNOW_RETURN_IF_ERROR(AddToResidual(a.attended, block.attention_output));
    WINNOW_RETURN_IF_ERROR(FeedForward(block));
  }
  WINNOW_RETURN_IF_ERROR(
      Norm(a.residual, weights.final_norm, a.normed, hidden, num_tokens_));

  for (const SequenceChunk& chunk : chunks) {
    chunk.sequence->EndStep(static_cast<int>(chunk.ids.size()));
  }
  return absl::OkStatus();
}

absl::Status Transformer::CheckChunks(
    std::span<const SequenceChunk> chunks) const {
  size_t total = 0;
  for (const SequenceChunk& chunk : chunks) {
    total += chunk.ids.size();
    const KvSequence& sequence = *chunk.sequence;
    const int64_t end = sequence.num_tokens() + std::ssize(chunk.ids);
    if (end > sequence.options().max_tokens) {
      return absl::OutOfRangeError(absl::StrCat(
          "the sequence is limited to ", sequence.options().max_tokens,
          " tokens; ", end, " are needed"));
    }
    for (const int32_t id : chunk.ids) {
      if (id < 0 || id >= config().vocabulary) {
        return absl::InvalidArgumentError(
            absl::StrCat("token id ", id, " is not in the vocabulary of ",
                         config().vocabulary));
      }
    }
  }
  if (total == 0 || total > static_cast<size_t>(max_tokens_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a step takes 1 to ", max_tokens_, " tokens, not ", total));
  }
  return absl::OkStatus();
}

// Lays the chunks one after the other and cuts each where folding would change
// what its tokens see.
void Transformer::PlaceTokens(std::span<const SequenceChunk> chunks) {
  ids_.clear();
  positions_.clear();
  rounds_.clear();
  for (const SequenceChunk& chunk : chunks) {
    const auto& rule = chunk.sequence->fold_rule();
    int64_t position = chunk.sequence->num_tokens();
    const int64_t end = position + std::ssize(chunk.ids);
    for (size_t round = 0; position < end; ++round) {
      const int64_t stop =
          rule ? std::min(end, rule->NextChange(position)) : end;
      if (rounds_.size() <= round) {
        rounds_.emplace_back();
      }
      rounds_[round].push_back(
          {.sequence = chunk.sequence,
           .first_token = static_cast<int>(
               ids_.size() + (position - chunk.sequence->num_tokens())),
           .count = static_cast<int>(stop - position),
           .position = position});
      position = stop;
    }
    for (size_t i = 0; i < chunk.ids.size(); ++i) {
      ids_.push_back(chunk.ids[i]);
      positions_.push_back(static_cast<int32_t>(end - chunk.ids.size() + i));
    }
  }
  num_tokens_ = static_cast<int>(ids_.size());
}

absl::Status Transformer::ProjectQkv(const LayerWeights& layer) {
  const Activations& a = activations_;
  const int head_dim = config().head_dim;
  const LinearArgs projections[] = {
      Projection(a.normed, layer.query, layer.query_bias, a.query),
      Projection(a.normed, layer.key, layer.key_bias, a.key),
      Projection(a.normed, layer.value, layer.value_bias, a.value)};
  WINNOW_RETURN_IF_ERROR(backend_.LinearAll(projections));
  const struct {
    float* heads;
    const float* norm;
    int count;
  } rotated[] = {{a.query, layer.query_norm, config().num_heads},
                 {a.key, layer.key_norm, config().num_kv_heads}};
  for (const auto& [heads, norm, count] : rotated) {
    if (norm != nullptr) {
      WINNOW_RETURN_IF_ERROR(Norm(heads, norm, heads, head_dim,
                                  static_cast<int64_t>(num_tokens_) * count));
    }
    WINNOW_RETURN_IF_ERROR(
        backend_.Rotary({.heads = heads,
                         .positions = positions_,
                         .inverse_frequencies = config().inverse_frequencies,
                         .num_heads = count,
                         .head_dim = head_dim,
                         .pairs = config().rotary_pairs}));
  }
  return absl::OkStatus();
}

absl::Status Transformer::Attend(int layer, AttentionObserver* observer) {
  for (const std::vector<Span>& spans : rounds_) {
    WINNOW_RETURN_IF_ERROR(AttendSpans(layer, spans, observer));
  }
  return absl::OkStatus();
}

absl::Status Transformer::AttendSpans(int layer, std::span<const Span> spans,
                                      AttentionObserver* observer) {
  const Activations& a = activations_;
  const int head_dim = config().head_dim;
  const int64_t token_stride = int64_t{config().num_heads} * head_dim;
  const int64_t key_stride = int64_t{config().num_kv_heads} * head_dim;
  rows_.clear();
  for (const Span& span : spans) {
    KvSequence& sequence = *span.sequence;
    WINNOW_RETURN_IF_ERROR(
        sequence.Append(layer, a.key + span.first_token * key_stride,
                        a.value + span.first_token * key_stride, span.count));
    if (const auto& rule = sequence.fold_rule()) {
      WINNOW_RETURN_IF_ERROR(
          sequence.FoldBefore(layer, rule->VisibleBegin(span.position)));
    }
    for (int head = 0; head < config().num_kv_heads; ++head) {
      const int64_t offset = span.first_token * token_stride +
                             int64_t{head} * config().group() * head_dim;
      rows_.push_back({.tiles = sequence.Tiles(layer, head),
                       .compensation = sequence.Compensation(layer, head),
                       .query = a.query + offset,
                       .output = a.attended + offset,
                       .num_queries = span.count});
    }
  }
  const AttentionArgs args = {
      .rows = rows_,
      .tile = spans.front().sequence->options().tile,
      .group = config().group(),
      .token_stride = token_stride,
      .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
  };
  if (observer != nullptr) {
    WINNOW_RETURN_IF_ERROR(observer->Observe(layer, args));
  }
  return backend_.Attention(args);
}

absl::Status Transformer::FeedForward(const LayerWeights& layer) {
  const Activations& a = activations_;
  WINNOW_RETURN_IF_ERROR(Norm(a.residual, layer.feed_forward_norm, a.normed,
                              config().hidden, num_tokens_));
  const LinearArgs projections[] = {
      Projection(a.normed, layer.gate, nullptr, a.gate),
      Projection(a.normed, layer.up, nullptr, a.up)};
  WINNOW_RETURN_IF_ERROR(backend_.LinearAll(projections));
  WINNOW_RETURN_IF_ERROR(backend_.SiluMul(
      {.gate = a.gate,
       .up = a.up,
       .output = a.gate,
       .count = static_cast<int64_t>(num_tokens_) * config().intermediate}));
  return AddToResidual(a.gate, layer.down);
}

absl::Status Transformer::Norm(const float* input, const float* scale,
                               float* output, int cols, int64_t rows) {
  return backend_.RmsNorm({.input = input,
                           .scale = scale,
                           .output = output,
                           .rows = static_cast<int>(rows),
                           .cols = cols,
                           .epsilon = config().norm_epsilon});
}

LinearArgs Transformer::Projection(const float* input, const WeightView& weight,
                                   const float* bias, float* output) const {
  return {.input = input,
          .weight = weight,
          .bias = bias,
          .output = output,
          .num_tokens = num_tokens_};
}

absl::Status Transformer::AddToResidual(const float* input,
                                        const WeightView& weight) {
  LinearArgs args =
      Projection(input, weight, /*bias=*/nullptr, activations_.residual);
  args.accumulate = true;
  return backend_.Linear(args);
}

absl::Status Transformer::Logits(int first_token, int count, float* logits) {
  if (first_token < 0 || count < 1 || first_token + count > num_tokens_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the last step had ", num_tokens_, " tokens; logits of [",
                     first_token, ", ", first_token + count, ") were asked"));
  }
  return backend_.Linear(
      {.input = activations_.normed +
                static_cast<size_t>(first_token) * config().hidden,
       .weight = model_.weights().output,
       .output = logits,
       .num_tokens = count});
}

}  // namespace winnow
