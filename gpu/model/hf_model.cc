#include "gpu/model/hf_model.h"

#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/model/hf_config.h"
#include "gpu/model/hf_tokenizer.h"
#include "gpu/model/safetensors_reader.h"

namespace winnow {
namespace {

constexpr WeightNames kHfNames = {
    .embedding = "model.embed_tokens.weight",
    .final_norm = "model.norm.weight",
    .output = "lm_head.weight",
    .layer_prefix = "model.layers.",
    .attention_norm = "input_layernorm",
    .query = "self_attn.q_proj",
    .key = "self_attn.k_proj",
    .value = "self_attn.v_proj",
    .query_norm = "self_attn.q_norm",
    .key_norm = "self_attn.k_norm",
    .attention_output = "self_attn.o_proj",
    .feed_forward_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

using FilePtr = std::unique_ptr<MappedFile>;

// The file `name` of `folder`; null if there is none.
absl::StatusOr<FilePtr> OpenIfThere(const std::string& folder,
                                    const std::string& name) {
  absl::StatusOr<FilePtr> file =
      MappedFile::Open(absl::StrCat(folder, "/", name));
  if (absl::IsNotFound(file.status())) {
    return FilePtr();
  }
  return file;
}

std::span<const std::byte> BytesOf(const FilePtr& file) {
  return file == nullptr ? std::span<const std::byte>() : file->bytes();
}

absl::StatusOr<std::vector<std::string>> WeightFiles(
    const std::string& folder) {
  WINNOW_ASSIGN_OR_RETURN(const FilePtr index,
                          OpenIfThere(folder, "model.safetensors.index.json"));
  if (index != nullptr) {
    return ReadShardNames(index->bytes());
  }
  return std::vector<std::string>{"model.safetensors"};
}

absl::StatusOr<HfConfig> ReadConfig(const std::string& folder,
                                    const MappedFile& config) {
  WINNOW_ASSIGN_OR_RETURN(const FilePtr generation,
                          OpenIfThere(folder, "generation_config.json"));
  WINNOW_ASSIGN_OR_RETURN(HfConfig result,
                          ReadHfConfig(config.bytes(), BytesOf(generation)));
  if (result.model.name.empty()) {
    const std::filesystem::path path(folder);
    result.model.name =
        (path.has_filename() ? path : path.parent_path()).filename().string();
  }
  return result;
}

absl::StatusOr<TokenizerSource> ReadTokenizer(const std::string& folder,
                                              int vocabulary) {
  WINNOW_ASSIGN_OR_RETURN(const FilePtr tokenizer,
                          OpenIfThere(folder, "tokenizer.json"));
  WINNOW_ASSIGN_OR_RETURN(const FilePtr config,
                          OpenIfThere(folder, "tokenizer_config.json"));
  WINNOW_ASSIGN_OR_RETURN(const FilePtr chat_template,
                          OpenIfThere(folder, "chat_template.jinja"));
  const std::span<const std::byte> text = BytesOf(chat_template);
  WINNOW_ASSIGN_OR_RETURN(
      TokenizerSource source,
      ReadHfTokenizer(
          {.tokenizer = BytesOf(tokenizer),
           .tokenizer_config = BytesOf(config),
           .chat_template = {reinterpret_cast<const char*>(text.data()),
                             text.size()}}));
  if (source.tokens.size() > static_cast<size_t>(vocabulary)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json has ids up to ", source.tokens.size() - 1,
                     ", but the vocabulary is ", vocabulary));
  }
  return source;
}

}  // namespace

absl::StatusOr<ModelParts> LoadHfFolder(const std::string& folder) {
  ModelParts parts;
  WINNOW_ASSIGN_OR_RETURN(FilePtr config_file,
                          MappedFile::Open(folder + "/config.json"));
  WINNOW_ASSIGN_OR_RETURN(const HfConfig config,
                          ReadConfig(folder, *config_file));
  parts.config = config.model;
  parts.files.push_back(std::move(config_file));
  WINNOW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          WeightFiles(folder));
  TensorTable tensors;
  for (const std::string& name : names) {
    WINNOW_ASSIGN_OR_RETURN(FilePtr file,
                            MappedFile::Open(absl::StrCat(folder, "/", name)));
    WINNOW_RETURN_IF_ERROR(ReadSafetensors(file->bytes(), tensors));
    parts.files.push_back(std::move(file));
  }
  WINNOW_ASSIGN_OR_RETURN(parts.weights, AssembleWeights(parts.config, kHfNames,
                                                         config.tied_embeddings,
                                                         tensors, parts.owned));
  WINNOW_ASSIGN_OR_RETURN(parts.tokenizer,
                          ReadTokenizer(folder, parts.config.vocabulary));
  return parts;
}

}  // namespace winnow
