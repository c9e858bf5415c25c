#include "gpu/model/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/model/bounded_json.h"
#include "gpu/model/hf_rotary.h"
#include "gpu/model/weight_assembly.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

struct ModelType {
  absl::string_view name;
  ModelFamily family;
};
constexpr std::array<ModelType, 4> kModelTypes = {{
    {"llama", ModelFamily::kLlama},
    {"mistral", ModelFamily::kLlama},
    {"qwen2", ModelFamily::kQwen2},
    {"qwen3", ModelFamily::kQwen3},
}};

absl::Status Invalid(absl::string_view field, absl::string_view message) {
  return absl::InvalidArgumentError(
      absl::StrCat("config.json: ", field, " ", message));
}

absl::Status Refused(absl::string_view field, absl::string_view message) {
  return absl::UnimplementedError(
      absl::StrCat("config.json: ", field, " ", message));
}

// The integer `field` of at least 0, or `otherwise` if there is none.
absl::StatusOr<int> IntegerOr(const Json& config, absl::string_view field,
                              std::optional<int> otherwise) {
  const Json* value = FindMember(config, field);
  if (value == nullptr) {
    if (otherwise) {
      return *otherwise;
    }
    return Invalid(field, "is missing");
  }
  const auto* number = value->get_ptr<const Json::number_unsigned_t*>();
  if (number == nullptr ||
      *number > uint64_t{std::numeric_limits<int>::max()}) {
    return Invalid(field, "is not a count in range");
  }
  return static_cast<int>(*number);
}

absl::Status ReadSizes(const Json& config, ModelConfig& model) {
  WINNOW_ASSIGN_OR_RETURN(model.num_layers,
                          IntegerOr(config, "num_hidden_layers", {}));
  WINNOW_ASSIGN_OR_RETURN(model.hidden, IntegerOr(config, "hidden_size", {}));
  WINNOW_ASSIGN_OR_RETURN(model.intermediate,
                          IntegerOr(config, "intermediate_size", {}));
  WINNOW_ASSIGN_OR_RETURN(model.vocabulary,
                          IntegerOr(config, "vocab_size", {}));
  WINNOW_ASSIGN_OR_RETURN(model.context_limit,
                          IntegerOr(config, "max_position_embeddings", {}));
  WINNOW_ASSIGN_OR_RETURN(model.num_heads,
                          IntegerOr(config, "num_attention_heads", {}));
  // transformers' defaults: as many KV heads as heads for Llama; other
  // families always write theirs down.
  std::optional<int> kv_heads;
  if (model.family == ModelFamily::kLlama) {
    kv_heads = model.num_heads;
  }
  WINNOW_ASSIGN_OR_RETURN(model.num_kv_heads,
                          IntegerOr(config, "num_key_value_heads", kv_heads));
  const int even_share = model.family == ModelFamily::kQwen3
                             ? 128
                             : model.hidden / std::max(1, model.num_heads);
  WINNOW_ASSIGN_OR_RETURN(model.head_dim,
                          IntegerOr(config, "head_dim", even_share));
  const Json* epsilon = FindMember(config, "rms_norm_eps");
  if (epsilon != nullptr && !epsilon->is_number()) {
    return Invalid("rms_norm_eps", "is not a number");
  }
  model.norm_epsilon = epsilon == nullptr ? 1e-6f : epsilon->get<float>();
  return CheckModelConfig(model);
}

absl::Status RefuseSlidingWindow(const Json& config, absl::string_view type,
                                 const ModelConfig& model) {
  if (const Json* layers = FindMember(config, "layer_types")) {
    const bool all_full = layers->is_array() &&
                          std::ranges::all_of(*layers, [](const Json& kind) {
                            return kind == "full_attention";
                          });
    if (!all_full) {
      return Refused("layer_types",
                     "has layers that are not \"full_attention\": Winnow "
                     "attends to all tokens in every layer");
    }
    return absl::OkStatus();
  }
  if (type == "llama") {
    return absl::OkStatus();  // has no such field
  }
  int window = 0;  // none
  if (type == "mistral") {
    // null is none; without the field transformers takes 4,096.
    const bool none = config.contains("sliding_window") &&
                      config.at("sliding_window").is_null();
    WINNOW_ASSIGN_OR_RETURN(
        window, IntegerOr(config, "sliding_window", none ? 0 : 4096));
  } else if (IsTrue(config, "use_sliding_window")) {
    WINNOW_ASSIGN_OR_RETURN(const int first,
                            IntegerOr(config, "max_window_layers", 28));
    WINNOW_ASSIGN_OR_RETURN(window, IntegerOr(config, "sliding_window", 4096));
    window = first < model.num_layers ? window : 0;
  }
  if (window != 0 && window < model.context_limit) {
    return Refused(
        "sliding_window",
        absl::StrCat("is ", window, ", less than max_position_embeddings (",
                     model.context_limit,
                     "): this model attends to that many tokens only, Winnow "
                     "to all"));
  }
  return absl::OkStatus();
}

absl::Status RefuseVariants(const Json& config) {
  const std::string* activation = FindString(config, "hidden_act");
  const Json* given = FindMember(config, "hidden_act");
  if (given != nullptr && (activation == nullptr ||
                           (*activation != "silu" && *activation != "swish"))) {
    return Refused("hidden_act", "is not \"silu\"");
  }
  if (IsTrue(config, "mlp_bias")) {
    return Refused("mlp_bias", "is true");
  }
  if (FindMember(config, "quantization_config") != nullptr) {
    return Refused("quantization_config",
                   "is there: Winnow runs BF16, F16 and F32 weights of "
                   "safetensors, or quantised weights of GGUF");
  }
  return absl::OkStatus();
}

// Adds the ids of "eos_token_id", a number or an array of them.
absl::Status AddEndOfText(const Json& config, int vocabulary,
                          std::vector<int32_t>& ids) {
  const Json* field = FindMember(config, "eos_token_id");
  if (field == nullptr) {
    return absl::OkStatus();
  }
  const Json list = field->is_array() ? *field : Json::array({*field});
  for (const Json& item : list) {
    const auto* id = item.get_ptr<const Json::number_unsigned_t*>();
    if (id == nullptr || *id >= static_cast<uint64_t>(vocabulary)) {
      return Invalid("eos_token_id", "is not a token of the vocabulary");
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  return absl::OkStatus();
}

absl::Status ReadEndOfText(const Json& config,
                           std::span<const std::byte> generation_config_json,
                           ModelConfig& model) {
  WINNOW_RETURN_IF_ERROR(
      AddEndOfText(config, model.vocabulary, model.end_of_text));
  if (generation_config_json.empty()) {
    return absl::OkStatus();
  }
  WINNOW_ASSIGN_OR_RETURN(
      const Json generation,
      ParseBoundedJson(generation_config_json, "generation_config.json",
                       {.max_bytes = kMaxConfigBytes}));
  return AddEndOfText(generation, model.vocabulary, model.end_of_text);
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfig(
    std::span<const std::byte> config_json,
    std::span<const std::byte> generation_config_json) {
  WINNOW_ASSIGN_OR_RETURN(const Json config,
                          ParseBoundedJson(config_json, "config.json",
                                           {.max_bytes = kMaxConfigBytes}));
  const std::string* name = FindString(config, "model_type");
  if (name == nullptr) {
    return Invalid("model_type", "is missing");
  }
  const auto* type = std::ranges::find(kModelTypes, *name, &ModelType::name);
  if (type == kModelTypes.end()) {
    return Refused("model_type",
                   absl::StrCat("is \"", absl::CHexEscape(name->substr(0, 100)),
                                "\"; Winnow runs llama, mistral, qwen2 and "
                                "qwen3"));
  }
  HfConfig result;
  result.model.family = type->family;
  result.tied_embeddings = IsTrue(config, "tie_word_embeddings");
  if (const std::string* path = FindString(config, "_name_or_path")) {
    result.model.name = path->substr(0, 200);
  }
  WINNOW_RETURN_IF_ERROR(ReadSizes(config, result.model));
  WINNOW_RETURN_IF_ERROR(RefuseSlidingWindow(config, type->name, result.model));
  WINNOW_RETURN_IF_ERROR(RefuseVariants(config));
  WINNOW_RETURN_IF_ERROR(ReadHfRotary(config, result.model));
  WINNOW_RETURN_IF_ERROR(
      ReadEndOfText(config, generation_config_json, result.model));
  return result;
}

}  // namespace winnow
