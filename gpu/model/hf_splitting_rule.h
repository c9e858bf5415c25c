#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace winnow {

// The name of the rule by which a tokenizer.json splits text before merging,
// recognised by the structure of "normalizer", "pre_tokenizer" and
// "model.ignore_merges": "smollm", "gpt-2", "llama-bpe" or "qwen2"; for any
// other "sha256:" and the digest of that JSON.
//
// "qwen2" stands for the rule with and without NFC before it: GGUF does not
// tell the two apart either.
std::string RecogniseSplittingRule(const nlohmann::json& tokenizer);

}  // namespace winnow
