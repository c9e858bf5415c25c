#pragma once

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "gpu/model/tokenizer_source.h"

namespace winnow {

// The files of a Hugging Face folder that speak about text; empty where there
// is none.
struct HfTokenizerFiles {
  std::span<const std::byte> tokenizer;         // tokenizer.json
  std::span<const std::byte> tokenizer_config;  // tokenizer_config.json
  absl::string_view chat_template;              // chat_template.jinja
};

// Reads them.  The splitting rule gets the name that GGUF has for it
// ("smollm", "gpt-2", "llama-bpe", "qwen2"), else a fingerprint of its JSON;
// a model other than byte-level BPE gets its own name.  Both are then for
// Tokenizer::Create to refuse.
//
// InvalidArgument for a file that contradicts itself.
absl::StatusOr<TokenizerSource> ReadHfTokenizer(const HfTokenizerFiles& files);

}  // namespace winnow
