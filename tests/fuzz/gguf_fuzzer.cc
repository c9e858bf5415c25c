#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "gpu/model/gguf_model.h"
#include "gpu/model/gguf_reader.h"

// A GGUF file from anywhere: it is read to the end or refused, and what was
// accepted can be dequantised.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const auto contents = winnow::ReadGguf(std::as_bytes(std::span(input, size)));
  if (!contents.ok()) {
    return 0;
  }
  winnow::ModelParts parts;
  if (!winnow::ReadGgufModel(*contents, parts).ok()) {
    return 0;
  }
  const winnow::WeightView& output = parts.weights.output;
  std::vector<float> row(static_cast<size_t>(output.cols));
  winnow::Dequantize(output.type, output.Row(output.rows - 1), output.cols,
                     row.data());
  return 0;
}
