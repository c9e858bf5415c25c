#pragma once

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"

#include "gpu/model/model_config.h"

namespace winnow {

// What config.json and generation_config.json say about a transformer.
struct HfConfig {
  ModelConfig model;
  bool tied_embeddings = false;  // the output is the embedding
};

// Reads config.json, in the spelling of transformers 4 (rope_theta,
// rope_scaling) or 5 (rope_parameters).  `generation_config` may be empty; its
// end-of-text ids join those of config.json.
//
// Errors as LoadModel's.  Refused because the result would differ: attention
// over a sliding window that is smaller than the context, activations other
// than SiLU, quantised weights, partial rotary embedding.
absl::StatusOr<HfConfig> ReadHfConfig(
    std::span<const std::byte> config_json,
    std::span<const std::byte> generation_config_json);

}  // namespace winnow
