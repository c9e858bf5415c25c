#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "gpu/model/loaded_model.h"

namespace winnow {

// Maps and reads a Hugging Face folder: config.json, model.safetensors or the
// shards of model.safetensors.index.json; generation_config.json,
// tokenizer.json, tokenizer_config.json and chat_template.jinja where they are
// there.  Errors as LoadModel's.
absl::StatusOr<ModelParts> LoadHfFolder(const std::string& folder);

}  // namespace winnow
