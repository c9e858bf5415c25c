#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/model/tokenizer_source.h"

namespace winnow {

// Whether markers such as <|im_end|> in a text are tokens or plain letters.
enum class SpecialTokens : uint8_t {
  kAsText,  // user text: never yields a special token
  kParse,   // templates and raw prompts
};

struct TokenizedText {
  std::vector<int32_t> ids;
  int64_t dropped_bytes = 0;  // bytes that the vocabulary has no token for
};

// Byte-level BPE (GPT-2) with the model's own pre-tokenizer.  Immutable after
// creation, so thread-safe.
class Tokenizer {
 public:
  // Unimplemented, naming it, for a tokenizer or pre-tokenizer that is not
  // known; InvalidArgument for a source that contradicts itself.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      const TokenizerSource& source);

  virtual ~Tokenizer() = default;

  // Tokens of `text`.  No token is added at the start.  Bytes without a token
  // are dropped and counted, never replaced by an "unknown" id.  Time grows as
  // n log n with the text's length, whatever the text.
  //
  // InvalidArgument if `text` is not valid UTF-8; says at which byte.
  virtual absl::StatusOr<TokenizedText> Encode(std::string_view text,
                                               SpecialTokens special) const = 0;

  // Bytes of one token: part of a UTF-8 character, or several.  Special tokens
  // give their marker if `with_special`, else nothing; so do ids out of range.
  virtual std::string_view TokenBytes(int32_t id, bool with_special) const = 0;

  // The text of `ids`.  May be invalid UTF-8 where the ids cut a character.
  virtual std::string Decode(std::span<const int32_t> ids,
                             bool with_special) const = 0;

  virtual int32_t vocabulary_size() const = 0;
  // The id of a special token by its marker.  NotFound if there is none.
  virtual absl::StatusOr<int32_t> SpecialId(std::string_view marker) const = 0;
  // SHA-256 over everything that changes the ids of a text; enters the cache's
  // keys.
  virtual const std::array<uint8_t, 32>& digest() const = 0;
};

}  // namespace winnow
