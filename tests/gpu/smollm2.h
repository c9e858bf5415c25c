#pragma once

#include <cstdlib>
#include <string>

namespace winnow {

// WINNOW_TEST_MODEL, or where deploy/fetch-model, which tests/run calls first,
// keeps the model.
inline std::string FetchedModelPath() {
  const auto variable = [](const char* name, const std::string& otherwise) {
    const char* const value = std::getenv(name);
    return value == nullptr || *value == '\0' ? otherwise : std::string(value);
  };
  const std::string caches =
      variable("XDG_CACHE_HOME", variable("HOME", "") + "/.cache");
  const std::string fetched = variable("WINNOW_CACHE_DIR", caches + "/winnow") +
                              "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  return variable("WINNOW_TEST_MODEL", fetched);
}

}  // namespace winnow
