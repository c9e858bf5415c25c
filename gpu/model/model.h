#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/base/sha256.h"
#include "gpu/model/model_config.h"
#include "gpu/model/tokenizer_source.h"
#include "gpu/weight.h"

namespace winnow {

// Weights of one transformer block.  Vectors are float32; null where the
// family has none.
struct LayerWeights {
  const float* attention_norm = nullptr;     // [hidden]
  WeightView query;                          // [heads * head_dim, hidden]
  WeightView key;                            // [kv_heads * head_dim, hidden]
  WeightView value;                          // [kv_heads * head_dim, hidden]
  const float* query_bias = nullptr;         // [heads * head_dim]
  const float* key_bias = nullptr;           // [kv_heads * head_dim]
  const float* value_bias = nullptr;         // [kv_heads * head_dim]
  const float* query_norm = nullptr;         // [head_dim]: Qwen3
  const float* key_norm = nullptr;           // [head_dim]: Qwen3
  WeightView attention_output;               // [hidden, heads * head_dim]
  const float* feed_forward_norm = nullptr;  // [hidden]
  WeightView gate;                           // [intermediate, hidden]
  WeightView up;                             // [intermediate, hidden]
  WeightView down;                           // [hidden, intermediate]
};

struct ModelWeights {
  WeightView embedding;  // [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;  // [hidden]
  WeightView output;                  // [vocabulary, hidden]; may be embedding
};

// A loaded model: configuration, weights, and what its files say about text.
// Weights lie in the mapped files, which the model keeps open; they are held
// once.  Immutable, so safe to share between threads.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const ModelWeights& weights() const = 0;
  // Vocabulary, merges, special tokens and chat template as the files give
  // them; empty where a folder holds no tokenizer.
  virtual const TokenizerSource& tokenizer_source() const = 0;
  // SHA-256 over everything that changes what the transformer computes:
  // weights and configuration.  Reads all weights at the first call for a file
  // and remembers the result by (device, inode, size, mtime) in the user's
  // cache folder.  Thread-safe.
  virtual absl::StatusOr<Sha256Digest> Digest() const = 0;
  // Gives back the pages of files that are in memory now; what is touched
  // later comes back.
  virtual void DropPages() const = 0;
};

// Loads a GGUF file or a Hugging Face folder (config.json, *.safetensors,
// tokenizer.json), by what `path` is.  Nothing in the files is trusted: every
// count, offset, size and alignment is checked before it is used.
//
// Errors:
//   NotFound            there is no such file or folder.
//   InvalidArgument     not a model file, truncated, or out of range; says
//                       which field.
//   Unimplemented       a family, weight type or rotary scaling that Winnow
//                       does not run; names it and what it does run.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path);

}  // namespace winnow
