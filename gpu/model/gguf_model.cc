#include "gpu/model/gguf_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/model/gguf_tokenizer.h"
#include "gpu/model/rotary_frequencies.h"

namespace winnow {
namespace {

constexpr WeightNames kGgufNames = {
    .embedding = "token_embd.weight",
    .final_norm = "output_norm.weight",
    .output = "output.weight",
    .layer_prefix = "blk.",
    .attention_norm = "attn_norm",
    .query = "attn_q",
    .key = "attn_k",
    .value = "attn_v",
    .query_norm = "attn_q_norm",
    .key_norm = "attn_k_norm",
    .attention_output = "attn_output",
    .feed_forward_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
};

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

struct Architecture {
  absl::string_view name;
  ModelFamily family;
  // Llama's q and k rows are permuted for interleaved pairs, Qwen's are not.
  RotaryPairs pairs;
};
constexpr std::array<Architecture, 3> kArchitectures = {{
    {"llama", ModelFamily::kLlama, RotaryPairs::kInterleaved},
    {"qwen2", ModelFamily::kQwen2, RotaryPairs::kHalves},
    {"qwen3", ModelFamily::kQwen3, RotaryPairs::kHalves},
}};

absl::StatusOr<Architecture> ArchitectureOf(const GgufContents& contents) {
  WINNOW_ASSIGN_OR_RETURN(const absl::string_view name,
                          contents.String("general.architecture"));
  const auto found =
      std::ranges::find(kArchitectures, name, &Architecture::name);
  if (found == kArchitectures.end()) {
    return absl::UnimplementedError(
        absl::StrCat("architecture \"", absl::CHexEscape(name.substr(0, 100)),
                     "\"; Winnow runs llama (also Mistral), qwen2 and qwen3"));
  }
  return *found;
}

// Reads "<architecture>.<field>".
class Hyperparameters {
 public:
  Hyperparameters(const GgufContents& contents, absl::string_view architecture)
      : contents_(contents), prefix_(absl::StrCat(architecture, ".")) {}

  bool Has(absl::string_view field) const {
    return contents_.Find(prefix_ + std::string(field)) != nullptr;
  }
  absl::StatusOr<int> Integer(absl::string_view field) const {
    WINNOW_ASSIGN_OR_RETURN(
        const int64_t value,
        contents_.Integer(prefix_ + std::string(field), 0, kMaxInt));
    return static_cast<int>(value);
  }
  absl::StatusOr<int> IntegerOr(absl::string_view field, int otherwise) const {
    return Has(field) ? Integer(field) : absl::StatusOr<int>(otherwise);
  }
  // A positive, finite number.
  absl::StatusOr<double> PositiveOr(absl::string_view field,
                                    double otherwise) const {
    if (!Has(field)) {
      return otherwise;
    }
    const std::string key = prefix_ + std::string(field);
    WINNOW_ASSIGN_OR_RETURN(const double value, contents_.Number(key));
    if (!(value > 0) || !std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("GGUF: ", key, " is ", value, ", not positive"));
    }
    return value;
  }
  absl::StatusOr<absl::string_view> StringOr(
      absl::string_view field, absl::string_view otherwise) const {
    return Has(field) ? contents_.String(prefix_ + std::string(field))
                      : absl::StatusOr<absl::string_view>(otherwise);
  }
  absl::Status Refuse(absl::string_view field, absl::string_view reason) const {
    return absl::UnimplementedError(
        absl::StrCat("GGUF: ", prefix_, field, " ", reason));
  }

 private:
  const GgufContents& contents_;
  const std::string prefix_;
};

absl::Status ReadShape(const Hyperparameters& fields, ModelConfig& config) {
  WINNOW_ASSIGN_OR_RETURN(config.num_layers, fields.Integer("block_count"));
  WINNOW_ASSIGN_OR_RETURN(config.hidden, fields.Integer("embedding_length"));
  WINNOW_ASSIGN_OR_RETURN(config.intermediate,
                          fields.Integer("feed_forward_length"));
  WINNOW_ASSIGN_OR_RETURN(config.context_limit,
                          fields.Integer("context_length"));
  WINNOW_ASSIGN_OR_RETURN(config.num_heads,
                          fields.Integer("attention.head_count"));
  WINNOW_ASSIGN_OR_RETURN(
      config.num_kv_heads,
      fields.IntegerOr("attention.head_count_kv", config.num_heads));
  WINNOW_ASSIGN_OR_RETURN(
      const double epsilon,
      fields.PositiveOr("attention.layer_norm_rms_epsilon", 1e-5));
  config.norm_epsilon = static_cast<float>(epsilon);
  const int even_share = config.hidden / std::max(1, config.num_heads);
  WINNOW_ASSIGN_OR_RETURN(config.head_dim,
                          fields.IntegerOr("attention.key_length", even_share));
  return absl::OkStatus();
}

// Refuses what would make the model compute something else.
absl::Status RefuseVariants(const Hyperparameters& fields,
                            const ModelConfig& config) {
  WINNOW_ASSIGN_OR_RETURN(
      const int value_length,
      fields.IntegerOr("attention.value_length", config.head_dim));
  if (value_length != config.head_dim) {
    return fields.Refuse("attention.value_length", "differs from key_length");
  }
  WINNOW_ASSIGN_OR_RETURN(
      const int rotary,
      fields.IntegerOr("rope.dimension_count", config.head_dim));
  if (rotary != config.head_dim) {
    return fields.Refuse("rope.dimension_count",
                         "is not the whole head: partial rotary embedding");
  }
  WINNOW_ASSIGN_OR_RETURN(const int experts,
                          fields.IntegerOr("expert_count", 0));
  if (experts != 0) {
    return fields.Refuse("expert_count", "is not 0: a mixture of experts");
  }
  WINNOW_ASSIGN_OR_RETURN(const int window,
                          fields.IntegerOr("attention.sliding_window", 0));
  if (window != 0 && window < config.context_limit) {
    return fields.Refuse("attention.sliding_window",
                         absl::StrCat("is ", window, ", less than the context",
                                      ": Winnow attends to all tokens"));
  }
  return absl::OkStatus();
}

// Linear scaling, as it is spelled now or was spelled first.
absl::Status ReadScaling(const Hyperparameters& fields,
                         RotaryParameters& rotary) {
  WINNOW_ASSIGN_OR_RETURN(
      const absl::string_view type,
      fields.StringOr("rope.scaling.type",
                      fields.Has("rope.scale_linear") ? "linear" : "none"));
  if (type == "none") {
    return absl::OkStatus();
  }
  if (type != "linear") {
    return fields.Refuse(
        "rope.scaling.type",
        absl::StrCat("is \"", absl::CHexEscape(type.substr(0, 100)),
                     "\"; Winnow runs none and linear"));
  }
  WINNOW_ASSIGN_OR_RETURN(const double first,
                          fields.PositiveOr("rope.scale_linear", 1));
  WINNOW_ASSIGN_OR_RETURN(rotary.factor,
                          fields.PositiveOr("rope.scaling.factor", first));
  if (rotary.factor != 1) {
    rotary.scaling = RotaryScaling::kLinear;
  }
  return absl::OkStatus();
}

// rope_freqs.weight, where there is one: Llama 3's scaling, worked out when
// the file was made.
absl::Status ReadFrequencyFactors(const GgufContents& contents,
                                  OwnedVectors& owned,
                                  RotaryParameters& rotary) {
  WINNOW_ASSIGN_OR_RETURN(const float* factors,
                          FindVector(contents.tensors,
                                     {.name = "rope_freqs.weight",
                                      .count = rotary.head_dim / 2,
                                      .required = false},
                                     owned));
  if (factors == nullptr) {
    return absl::OkStatus();
  }
  if (rotary.scaling != RotaryScaling::kNone) {
    return absl::UnimplementedError(
        "GGUF: rope_freqs.weight together with rope.scaling");
  }
  rotary.scaling = RotaryScaling::kFactors;
  rotary.factors = {factors, static_cast<size_t>(rotary.head_dim) / 2};
  if (!std::ranges::all_of(rotary.factors, [](float factor) {
        return factor > 0 && std::isfinite(factor);
      })) {
    return absl::InvalidArgumentError(
        "GGUF: rope_freqs.weight has a factor that is not positive");
  }
  return absl::OkStatus();
}

absl::Status ReadRotary(const GgufContents& contents,
                        const Hyperparameters& fields, RotaryPairs pairs,
                        ModelParts& parts) {
  RotaryParameters rotary;
  rotary.head_dim = parts.config.head_dim;
  rotary.pairs = pairs;
  WINNOW_ASSIGN_OR_RETURN(rotary.theta,
                          fields.PositiveOr("rope.freq_base", 10000));
  WINNOW_RETURN_IF_ERROR(ReadScaling(fields, rotary));
  WINNOW_RETURN_IF_ERROR(ReadFrequencyFactors(contents, parts.owned, rotary));
  return SetRotary(rotary, parts.config);
}

absl::Status ReadVocabularySize(const GgufContents& contents,
                                ModelConfig& config) {
  const auto embedding = contents.tensors.find(kGgufNames.embedding);
  if (embedding == contents.tensors.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model has no tensor ", kGgufNames.embedding));
  }
  config.vocabulary =
      static_cast<int>(std::min(embedding->second.shape.front(), kMaxInt));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadGgufModel(const GgufContents& contents, ModelParts& parts) {
  WINNOW_ASSIGN_OR_RETURN(const Architecture architecture,
                          ArchitectureOf(contents));
  const Hyperparameters fields(contents, architecture.name);
  ModelConfig& config = parts.config;
  config.family = architecture.family;
  if (contents.Find("general.name") != nullptr) {
    WINNOW_ASSIGN_OR_RETURN(const absl::string_view name,
                            contents.String("general.name"));
    config.name = std::string(name.substr(0, 200));
  }
  WINNOW_RETURN_IF_ERROR(ReadShape(fields, config));
  WINNOW_RETURN_IF_ERROR(ReadVocabularySize(contents, config));
  WINNOW_RETURN_IF_ERROR(CheckModelConfig(config));
  WINNOW_RETURN_IF_ERROR(RefuseVariants(fields, config));
  WINNOW_RETURN_IF_ERROR(
      ReadRotary(contents, fields, architecture.pairs, parts));
  const bool tied = !contents.tensors.contains(kGgufNames.output);
  WINNOW_ASSIGN_OR_RETURN(
      parts.weights,
      AssembleWeights(config, kGgufNames, tied, contents.tensors, parts.owned));
  WINNOW_ASSIGN_OR_RETURN(config.end_of_text,
                          ReadGgufEndOfText(contents, config.vocabulary));
  WINNOW_ASSIGN_OR_RETURN(parts.tokenizer,
                          ReadGgufTokenizer(contents, config.vocabulary));
  return absl::OkStatus();
}

absl::StatusOr<ModelParts> LoadGgufFile(const std::string& path) {
  ModelParts parts;
  WINNOW_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file,
                          MappedFile::Open(path));
  WINNOW_ASSIGN_OR_RETURN(const GgufContents contents, ReadGguf(file->bytes()));
  WINNOW_RETURN_IF_ERROR(ReadGgufModel(contents, parts));
  parts.files.push_back(std::move(file));
  return parts;
}

}  // namespace winnow
