#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/elementwise.h"
#include "gpu/kv_tile.h"

namespace winnow {

enum class ModelFamily : uint8_t { kLlama, kQwen2, kQwen3 };

// What a model file says about the shape of its transformer: pre-norm blocks
// of grouped-query attention with rotary positions and a gated SiLU network.
struct ModelConfig {
  ModelFamily family = ModelFamily::kLlama;  // kLlama: also Mistral
  std::string name;                          // for people; may be empty
  int num_layers = 0;
  int hidden = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;
  int intermediate = 0;
  int vocabulary = 0;
  int context_limit = 0;  // positions the model was trained for
  float norm_epsilon = 0;

  // One inverse frequency per rotary pair, scaling (linear, llama3) applied.
  std::vector<float> inverse_frequencies;  // [head_dim / 2]
  RotaryPairs rotary_pairs = RotaryPairs::kHalves;
  // Every parameter that entered the line above, for the cache's digests.
  std::string rotary_description;  // "theta=100000 scaling=none pairs=..."

  // Logical end-of-text ids, sorted; generation stops at any of them.
  std::vector<int32_t> end_of_text;

  int group() const { return num_heads / num_kv_heads; }
  // Bytes of keys and values of one token over all layers and KV heads.
  int64_t KvBytesPerToken(KvDtype dtype) const {
    return int64_t{2} * num_layers * num_kv_heads * head_dim *
           static_cast<int64_t>(KvDtypeSize(dtype));
  }
};

}  // namespace winnow
