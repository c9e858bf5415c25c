#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/base/mutex.h"
#include "gpu/model/mapped_file.h"
#include "gpu/model/model.h"
#include "gpu/model/weight_assembly.h"

namespace winnow {

// What a reader of model files finds.
struct ModelParts {
  ModelConfig config;
  ModelWeights weights;  // points into `files` and `owned`
  TokenizerSource tokenizer;
  std::vector<std::unique_ptr<MappedFile>> files;  // in the digest's order
  OwnedVectors owned;
};

// A model whose weights lie in mapped files.
class LoadedModel final : public Model {
 public:
  explicit LoadedModel(ModelParts parts) : parts_(std::move(parts)) {}

  const ModelConfig& config() const override { return parts_.config; }
  const ModelWeights& weights() const override { return parts_.weights; }
  const TokenizerSource& tokenizer_source() const override {
    return parts_.tokenizer;
  }
  absl::StatusOr<Sha256Digest> Digest() const override;
  void DropPages() const override;

 private:
  const ModelParts parts_;
  mutable Mutex mutex_;
  mutable std::optional<Sha256Digest> digest_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace winnow
