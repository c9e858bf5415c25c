#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/model/gguf_reader.h"
#include "gpu/model/tokenizer_source.h"

namespace winnow {

// tokenizer.ggml.* and tokenizer.chat_template; empty if the file has none.
// InvalidArgument for lists of different lengths, more tokens than
// `vocabulary`, ids out of range, or text that is not UTF-8.
absl::StatusOr<TokenizerSource> ReadGgufTokenizer(const GgufContents& contents,
                                                  int vocabulary);

// The ids of end of text, of turn and of message, where the file names them;
// sorted.
absl::StatusOr<std::vector<int32_t>> ReadGgufEndOfText(
    const GgufContents& contents, int vocabulary);

}  // namespace winnow
