#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "gpu/model/hf_tokenizer.h"

// A tokenizer.json from anywhere, followed, after a zero byte, by a
// tokenizer_config.json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const std::span<const uint8_t> bytes(input, size);
  const auto cut = std::ranges::find(bytes, uint8_t{0});
  const size_t first = static_cast<size_t>(cut - bytes.begin());
  const auto source =
      winnow::ReadHfTokenizer({.tokenizer = std::as_bytes(bytes.first(first)),
                               .tokenizer_config = std::as_bytes(
                                   bytes.subspan(std::min(first + 1, size))),
                               .chat_template = {}});
  if (source.ok() && source->kinds.size() != source->tokens.size()) {
    std::abort();
  }
  return 0;
}
