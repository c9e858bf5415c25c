#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace winnow {

// Kind of a vocabulary entry, as GGUF's tokenizer.ggml.token_type tells them
// apart.
enum class TokenKind : uint8_t {
  kNormal,   // reachable from text by merges
  kSpecial,  // control or added token: never produced from user text
  kUnused,
};

// What a model file says about its tokenizer, already bounded and checked for
// UTF-8 where it must be, but not yet interpreted.  Filled by the GGUF reader
// (tokenizer.ggml.*) and by the tokenizer.json reader, consumed by
// Tokenizer::Create.
struct TokenizerSource {
  std::string model;          // "bpe" (byte-level BPE); else unsupported
  std::string pre_tokenizer;  // name or fingerprint of the splitting rule:
                              // GGUF's tokenizer.ggml.pre, or one that the
                              // tokenizer.json reader recognised
  std::vector<std::string> tokens;  // by id, in byte-level (GPT-2) spelling
                                    // for normal tokens, plain for special
  std::vector<TokenKind> kinds;     // by id
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::optional<int32_t> beginning_of_text;
  bool add_beginning_of_text = false;
  std::string chat_template;  // Jinja text; empty if there is none
};

}  // namespace winnow
