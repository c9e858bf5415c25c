#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace winnow {

// Splits text into the pieces that byte-pair merges never cross.  Immutable
// after creation, so thread-safe.
class PreTokenizer {
 public:
  // Names are those of GGUF's tokenizer.ggml.pre: "smollm", "gpt-2" (also
  // "default"), "llama-bpe", "qwen2".  Unimplemented for any other.
  static absl::StatusOr<std::unique_ptr<const PreTokenizer>> Create(
      std::string_view name);

  virtual ~PreTokenizer() = default;

  // Appends the end of every piece of `text` to `ends`; pieces lie side by
  // side and cover the text.  Time is linear in the text's length, whatever
  // the text.  `text` must be valid UTF-8: it is not checked again.
  virtual absl::Status Split(std::string_view text,
                             std::vector<size_t>& ends) const = 0;

  // Whether a piece that is a token as a whole is that token, whatever the
  // merges say (Llama 3).
  virtual bool whole_piece_first() const = 0;
  // Everything that decides where this splits: the name of the rule and the
  // version of Unicode's tables.
  virtual std::string description() const = 0;
};

}  // namespace winnow
