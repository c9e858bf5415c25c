#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "gpu/model/hf_config.h"

// A config.json from anywhere, and the same bytes as generation_config.json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const auto bytes = std::as_bytes(std::span(input, size));
  const auto config = winnow::ReadHfConfig(bytes, bytes);
  if (config.ok() && config->model.inverse_frequencies.size() * 2 !=
                         static_cast<size_t>(config->model.head_dim)) {
    std::abort();
  }
  return 0;
}
