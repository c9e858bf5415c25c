#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "gpu/model/gguf_reader.h"
#include "gpu/model/loaded_model.h"

namespace winnow {

// What `contents` says about a model of architecture llama (also Mistral),
// qwen2 or qwen3.  `parts.files` is left as it is.
//
// Errors as LoadModel's.
absl::Status ReadGgufModel(const GgufContents& contents, ModelParts& parts);

// Maps and reads the GGUF file at `path`.  Errors as LoadModel's.
absl::StatusOr<ModelParts> LoadGgufFile(const std::string& path);

}  // namespace winnow
