#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "gpu/cpu/cpu_backend.h"
#include "gpu/model/model.h"
#include "gpu/model/safetensors_reader.h"
#include "gpu/model/transformer.h"

namespace winnow {

// A float32 tensor of a golden safetensors file.
class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& name) {
    std::ifstream file(absl::StrCat(WINNOW_GOLDEN_DIR, "/", name),
                       std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    ok_ = ReadSafetensors(std::as_bytes(std::span(bytes_)), tensors_).ok();
  }

  bool ok() const { return ok_; }
  std::span<const float> operator[](const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return {};
    }
    const std::span<const std::byte> raw = found->second.bytes;
    return {reinterpret_cast<const float*>(raw.data()), raw.size() / 4};
  }

 private:
  std::vector<char> bytes_;
  TensorTable tensors_;
  bool ok_ = false;
};

// A sequence in which every head sees everything.
inline std::unique_ptr<KvSequence> FullSequence(Backend& backend,
                                                const ModelConfig& config,
                                                KvDtype dtype,
                                                int64_t max_tokens) {
  const size_t rows =
      static_cast<size_t>(config.num_layers) * config.num_kv_heads;
  return KvSequence::Create(
             backend, {.num_layers = config.num_layers,
                       .num_kv_heads = config.num_kv_heads,
                       .tile = {.head_dim = config.head_dim, .dtype = dtype},
                       .local = std::vector<bool>(rows, false),
                       .weights = std::vector<float>(rows, 0),
                       .max_tokens = max_tokens})
      .value();
}

// Logits of all tokens of `ids`: [ids.size(), vocabulary], in chunks.
inline std::vector<float> AllLogits(Backend& backend, const Model& model,
                                    KvDtype dtype, std::span<const int32_t> ids,
                                    size_t chunk_tokens) {
  const ModelConfig& config = model.config();
  auto transformer =
      Transformer::Create(backend, model, static_cast<int>(chunk_tokens))
          .value();
  auto sequence = FullSequence(backend, config, dtype, std::ssize(ids));
  std::vector<float> logits(ids.size() * config.vocabulary);
  for (size_t begin = 0; begin < ids.size(); begin += chunk_tokens) {
    const SequenceChunk chunk = {
        .sequence = sequence.get(),
        .ids = ids.subspan(begin, std::min(chunk_tokens, ids.size() - begin))};
    absl::Status status = transformer->Forward({&chunk, 1});
    // Few at a time, as services ask for them.
    constexpr int kLogitTokens = 8;
    const int count = static_cast<int>(chunk.ids.size());
    for (int first = 0; first < count && status.ok(); first += kLogitTokens) {
      status = transformer->Logits(
          first, std::min(kLogitTokens, count - first),
          &logits[(begin + static_cast<size_t>(first)) * config.vocabulary]);
    }
    if (!status.ok()) {
      return {};
    }
  }
  return logits;
}

// Tokens that follow `ids` when the largest logit is taken every time.
inline std::vector<int32_t> Greedy(Backend& backend, const Model& model,
                                   KvDtype dtype, std::vector<int32_t> ids,
                                   size_t count) {
  auto transformer =
      Transformer::Create(backend, model, static_cast<int>(ids.size())).value();
  auto sequence = FullSequence(backend, model.config(), dtype,
                               std::ssize(ids) + static_cast<int64_t>(count));
  std::vector<float> logits(model.config().vocabulary);
  std::vector<int32_t> greedy;
  while (greedy.size() < count) {
    const SequenceChunk chunk = {.sequence = sequence.get(), .ids = ids};
    const int last = static_cast<int>(ids.size()) - 1;
    if (!transformer->Forward({&chunk, 1}).ok() ||
        !transformer->Logits(last, 1, logits.data()).ok()) {
      break;
    }
    greedy.push_back(static_cast<int32_t>(
        std::max_element(logits.begin(), logits.end()) - logits.begin()));
    ids = {greedy.back()};
  }
  return greedy;
}

// ln of the sum of exponentials of a row of logits.
inline double LogSumExp(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(double{logit} - largest);
  }
  return largest + std::log(sum);
}

// Mean negative log-likelihood of ids[1..] given all logits.
inline double MeanNll(std::span<const float> logits,
                      std::span<const int32_t> ids, int vocabulary) {
  double total = 0;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    const auto row = logits.subspan(i * vocabulary, vocabulary);
    total += LogSumExp(row) - row[ids[i + 1]];
  }
  return total / static_cast<double>(ids.size() - 1);
}

}  // namespace winnow
