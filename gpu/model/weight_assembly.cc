#include "gpu/model/weight_assembly.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// The tensor `name`, checked to have `shape` and an element type that Winnow
// runs; null if there is none.
absl::StatusOr<const StoredTensor*> FindTensor(
    const TensorTable& tensors, const std::string& name,
    const std::vector<int64_t>& shape) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return nullptr;
  }
  const StoredTensor& tensor = found->second;
  if (tensor.shape != shape) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, " has shape ", ShapeText(tensor.shape),
                     ", not ", ShapeText(shape)));
  }
  if (!tensor.type) {
    return absl::UnimplementedError(
        absl::StrCat("tensor ", name, " has elements of type ",
                     absl::CHexEscape(tensor.type_name),
                     "; Winnow runs F32, F16 and BF16 and the block types of "
                     "GGUF"));
  }
  return &tensor;
}

absl::Status MissingTensor(absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("the model has no tensor ", name));
}

// Looks tensors up and remembers which were used.
class Assembler {
 public:
  Assembler(const ModelConfig& config, const WeightNames& names,
            const TensorTable& tensors, OwnedVectors& owned)
      : config_(config), names_(names), tensors_(tensors), owned_(owned) {}

  absl::Status Matrix(const std::string& name, int64_t rows, int64_t cols,
                      WeightView& view) {
    WINNOW_ASSIGN_OR_RETURN(const StoredTensor* tensor,
                            FindTensor(tensors_, name, {rows, cols}));
    if (tensor == nullptr) {
      return MissingTensor(name);
    }
    used_.insert(name);
    assert(tensor->type.has_value());
    view = {.type = *tensor->type,
            .data = tensor->bytes.data(),
            .rows = rows,
            .cols = cols};
    return absl::OkStatus();
  }

  absl::Status Vector(const std::string& name, int64_t count, bool required,
                      const float*& vector) {
    WINNOW_ASSIGN_OR_RETURN(
        vector, FindVector(tensors_,
                           {.name = name, .count = count, .required = required},
                           owned_));
    used_.insert(name);
    return absl::OkStatus();
  }

  absl::StatusOr<LayerWeights> Layer(int index) {
    const std::string prefix = absl::StrCat(names_.layer_prefix, index, ".");
    LayerWeights layer;
    WINNOW_RETURN_IF_ERROR(AttentionMatrices(prefix, layer));
    WINNOW_RETURN_IF_ERROR(AttentionVectors(prefix, layer));
    WINNOW_RETURN_IF_ERROR(FeedForward(prefix, layer));
    return layer;
  }

  // Refuses tensors that nothing above asked for.
  absl::Status CheckAllUsed(bool tied) const {
    for (const auto& [name, tensor] : tensors_) {
      // Frequencies follow from the configuration (rope_freqs entered them);
      // a tied output repeats the embedding.
      const bool known = name == "rope_freqs.weight" ||
                         absl::EndsWith(name, ".rotary_emb.inv_freq") ||
                         (tied && name == names_.output);
      if (!known && !used_.contains(name)) {
        return absl::UnimplementedError(absl::StrCat(
            "the model has a tensor ", absl::CHexEscape(name.substr(0, 100)),
            ", which Winnow does not know what to do with"));
      }
    }
    return absl::OkStatus();
  }

 private:
  int64_t query_rows() const {
    return int64_t{config_.num_heads} * config_.head_dim;
  }
  int64_t kv_rows() const {
    return int64_t{config_.num_kv_heads} * config_.head_dim;
  }
  static std::string Weight(const std::string& prefix, absl::string_view name) {
    return absl::StrCat(prefix, name, ".weight");
  }
  static std::string Bias(const std::string& prefix, absl::string_view name) {
    return absl::StrCat(prefix, name, ".bias");
  }

  absl::Status AttentionMatrices(const std::string& prefix,
                                 LayerWeights& layer) {
    const int64_t hidden = config_.hidden;
    WINNOW_RETURN_IF_ERROR(Matrix(Weight(prefix, names_.query), query_rows(),
                                  hidden, layer.query));
    WINNOW_RETURN_IF_ERROR(
        Matrix(Weight(prefix, names_.key), kv_rows(), hidden, layer.key));
    WINNOW_RETURN_IF_ERROR(
        Matrix(Weight(prefix, names_.value), kv_rows(), hidden, layer.value));
    return Matrix(Weight(prefix, names_.attention_output), hidden, query_rows(),
                  layer.attention_output);
  }

  absl::Status AttentionVectors(const std::string& prefix,
                                LayerWeights& layer) {
    const bool has_bias = config_.family == ModelFamily::kQwen2;
    WINNOW_RETURN_IF_ERROR(Vector(Weight(prefix, names_.attention_norm),
                                  config_.hidden, true, layer.attention_norm));
    WINNOW_RETURN_IF_ERROR(Vector(Bias(prefix, names_.query), query_rows(),
                                  has_bias, layer.query_bias));
    WINNOW_RETURN_IF_ERROR(
        Vector(Bias(prefix, names_.key), kv_rows(), has_bias, layer.key_bias));
    WINNOW_RETURN_IF_ERROR(Vector(Bias(prefix, names_.value), kv_rows(),
                                  has_bias, layer.value_bias));
    if (config_.family != ModelFamily::kQwen3) {
      return absl::OkStatus();
    }
    WINNOW_RETURN_IF_ERROR(Vector(Weight(prefix, names_.query_norm),
                                  config_.head_dim, true, layer.query_norm));
    return Vector(Weight(prefix, names_.key_norm), config_.head_dim, true,
                  layer.key_norm);
  }

  absl::Status FeedForward(const std::string& prefix, LayerWeights& layer) {
    const int64_t hidden = config_.hidden;
    const int64_t wide = config_.intermediate;
    WINNOW_RETURN_IF_ERROR(Vector(Weight(prefix, names_.feed_forward_norm),
                                  hidden, true, layer.feed_forward_norm));
    WINNOW_RETURN_IF_ERROR(
        Matrix(Weight(prefix, names_.gate), wide, hidden, layer.gate));
    WINNOW_RETURN_IF_ERROR(
        Matrix(Weight(prefix, names_.up), wide, hidden, layer.up));
    return Matrix(Weight(prefix, names_.down), hidden, wide, layer.down);
  }

  const ModelConfig& config_;
  const WeightNames& names_;
  const TensorTable& tensors_;
  OwnedVectors& owned_;
  absl::flat_hash_set<std::string> used_;
};

struct FieldRange {
  absl::string_view name;
  int64_t value;
  int64_t maximum;
};

}  // namespace

absl::StatusOr<const float*> FindVector(const TensorTable& tensors,
                                        const VectorQuery& query,
                                        OwnedVectors& owned) {
  WINNOW_ASSIGN_OR_RETURN(const StoredTensor* tensor,
                          FindTensor(tensors, query.name, {query.count}));
  if (tensor == nullptr) {
    if (query.required) {
      return MissingTensor(query.name);
    }
    return nullptr;
  }
  assert(tensor->type.has_value());
  const std::byte* bytes = tensor->bytes.data();
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0;
  if (tensor->type == WeightType::kF32 && aligned) {
    return reinterpret_cast<const float*>(bytes);
  }
  owned.push_back(std::make_unique<float[]>(query.count));
  Dequantize(*tensor->type, bytes, query.count, owned.back().get());
  return owned.back().get();
}

absl::StatusOr<ModelWeights> AssembleWeights(const ModelConfig& config,
                                             const WeightNames& names,
                                             bool tied,
                                             const TensorTable& tensors,
                                             OwnedVectors& owned) {
  Assembler assembler(config, names, tensors, owned);
  ModelWeights weights;
  WINNOW_RETURN_IF_ERROR(assembler.Matrix(std::string(names.embedding),
                                          config.vocabulary, config.hidden,
                                          weights.embedding));
  WINNOW_RETURN_IF_ERROR(assembler.Vector(
      std::string(names.final_norm), config.hidden, true, weights.final_norm));
  weights.output = weights.embedding;
  if (!tied) {
    WINNOW_RETURN_IF_ERROR(assembler.Matrix(std::string(names.output),
                                            config.vocabulary, config.hidden,
                                            weights.output));
  }
  for (int i = 0; i < config.num_layers; ++i) {
    WINNOW_ASSIGN_OR_RETURN(LayerWeights layer, assembler.Layer(i));
    weights.layers.push_back(layer);
  }
  WINNOW_RETURN_IF_ERROR(assembler.CheckAllUsed(tied));
  return weights;
}

absl::Status CheckModelConfig(const ModelConfig& config) {
  const FieldRange fields[] = {
      {"number of layers", config.num_layers, 1024},
      {"hidden size", config.hidden, 1 << 17},
      {"number of heads", config.num_heads, 1024},
      {"number of KV heads", config.num_kv_heads, 1024},
      {"head dimension", config.head_dim, 256},
      {"intermediate size", config.intermediate, 1 << 20},
      {"vocabulary", config.vocabulary, 1 << 22},
      {"context length", config.context_limit, 1 << 24},
  };
  for (const FieldRange& field : fields) {
    if (field.value < 1 || field.value > field.maximum) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model's ", field.name, " is ", field.value,
                       ", not in [1, ", field.maximum, "]"));
    }
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model's ", config.num_heads, " heads are not a multiple of its ",
        config.num_kv_heads, " KV heads"));
  }
  if (config.head_dim % 16 != 0) {
    return absl::UnimplementedError(
        absl::StrCat("the model's head dimension is ", config.head_dim,
                     "; Winnow runs multiples of 16"));
  }
  const bool epsilon_ok = config.norm_epsilon >= 0 && config.norm_epsilon < 1;
  if (!epsilon_ok) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model's norm epsilon is ", config.norm_epsilon,
                     ", not in [0, 1)"));
  }
  return absl::OkStatus();
}

}  // namespace winnow
