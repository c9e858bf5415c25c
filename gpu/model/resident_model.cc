#include "gpu/model/resident_model.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

constexpr size_t kAlignment = 64;

std::vector<WeightView*> Matrices(ModelWeights& weights) {
  std::vector<WeightView*> matrices = {&weights.embedding, &weights.output};
  for (LayerWeights& layer : weights.layers) {
    for (WeightView* matrix :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output,
          &layer.gate, &layer.up, &layer.down}) {
      matrices.push_back(matrix);
    }
  }
  return matrices;
}

class ResidentModel final : public Model {
 public:
  explicit ResidentModel(std::unique_ptr<Model> model)
      : model_(std::move(model)), weights_(model_->weights()) {}

  absl::Status MoveWeights(Backend& backend) {
    const std::vector<WeightView*> matrices = Matrices(weights_);
    // A tied output is the embedding: one form serves both.
    absl::flat_hash_map<const std::byte*, size_t> places;
    size_t bytes = 0;
    for (const WeightView* matrix : matrices) {
      const size_t needed = backend.ResidentBytes(*matrix);
      if (needed > 0 && places.emplace(matrix->data, bytes).second) {
        bytes += (needed + kAlignment - 1) / kAlignment * kAlignment;
      }
    }
    WINNOW_ASSIGN_OR_RETURN(memory_, backend.Allocate(bytes));
    absl::flat_hash_map<const std::byte*, WeightView> made;
    for (WeightView* matrix : matrices) {
      const auto place = places.find(matrix->data);
      if (place == places.end()) {
        continue;
      }
      const auto [view, is_new] = made.try_emplace(matrix->data);
      if (is_new) {
        view->second = backend.MakeResident(
            *matrix, memory_.as<std::byte>() + place->second);
      }
      *matrix = view->second;
    }
    model_->DropPages();
    return absl::OkStatus();
  }

  const ModelConfig& config() const override { return model_->config(); }
  const ModelWeights& weights() const override { return weights_; }
  const TokenizerSource& tokenizer_source() const override {
    return model_->tokenizer_source();
  }
  absl::StatusOr<Sha256Digest> Digest() const override {
    return model_->Digest();
  }
  void DropPages() const override { model_->DropPages(); }

 private:
  std::unique_ptr<Model> model_;
  ModelWeights weights_;
  DeviceBuffer memory_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeResident(
    Backend& backend, std::unique_ptr<Model> model) {
  auto resident = std::make_unique<ResidentModel>(std::move(model));
  WINNOW_RETURN_IF_ERROR(resident->MoveWeights(backend));
  return resident;
}

}  // namespace winnow
