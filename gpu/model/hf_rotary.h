#pragma once

#include "absl/status/status.h"

#include "gpu/model/model_config.h"
#include "nlohmann/json.hpp"

namespace winnow {

// Reads the rotary parameters of a config.json into `model`, whose head
// dimension is known: rope_parameters (transformers 5), or rope_theta and
// rope_scaling.  Types default, linear and llama3; Unimplemented for others.
absl::Status ReadHfRotary(const nlohmann::json& config, ModelConfig& model);

}  // namespace winnow
