#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "gpu/model/safetensors_reader.h"

// A safetensors file, and a list of shards, from anywhere.  Every accepted
// tensor lies inside the input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const auto bytes = std::as_bytes(std::span(input, size));
  winnow::TensorTable tensors;
  if (winnow::ReadSafetensors(bytes, tensors).ok()) {
    for (const auto& [name, tensor] : tensors) {
      if (tensor.bytes.data() < bytes.data() ||
          tensor.bytes.data() + tensor.bytes.size() >
              bytes.data() + bytes.size()) {
        std::abort();
      }
    }
  }
  (void)winnow::ReadShardNames(bytes);
  return 0;
}
