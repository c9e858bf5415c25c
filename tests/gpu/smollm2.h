#pragma once

#include <cstdlib>
#include <string>

#include "gpu/model/cache_folder.h"

namespace winnow {

// WINNOW_TEST_MODEL, or where deploy/fetch-model, which tests/run calls first,
// keeps the model.
inline std::string FetchedModelPath() {
  const char* const chosen = std::getenv("WINNOW_TEST_MODEL");
  return chosen != nullptr && *chosen != '\0'
             ? chosen
             : CacheFolder() + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

}  // namespace winnow
