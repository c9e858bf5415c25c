// Tokenises any bytes with a small vocabulary under every pre-tokenizer.
//
//   input := options:u8 text
//
// Bits 0 and 1 of options choose the pre-tokenizer, bit 2 whether markers are
// parsed, bit 3 a vocabulary in which some bytes have no token.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "gpu/base/utf8.h"
#include "gpu/model/byte_level.h"
#include "gpu/model/tokenizer.h"

namespace winnow {
namespace {

constexpr int32_t kNumSpecial = 3;

void Check(bool claim) {
  if (!claim) {
    std::abort();
  }
}

TokenizerSource Source(const char* pre_tokenizer, bool with_all_bytes) {
  TokenizerSource source;
  source.model = "bpe";
  source.pre_tokenizer = pre_tokenizer;
  source.tokens = {"<|im_start|>", "<|im_end|>", "<|"};
  source.kinds.assign(kNumSpecial, TokenKind::kSpecial);
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    source.tokens.push_back(SpellBytes(std::string_view(&character, 1)));
    source.kinds.push_back(with_all_bytes || byte % 8 != 5
                               ? TokenKind::kNormal
                               : TokenKind::kUnused);
  }
  source.merges = {{"a", "a"},  {"aa", "aa"}, {"a", "b"}, {"b", "c"},
                   {"ab", "c"}, {"a", "bc"},  {"1", "2"}, {"!", "!"},
                   {"<", "|"},  {"|", ">"},   {"c", "c"}};
  source.merges.emplace_back(SpellBytes(" "), SpellBytes(" "));
  source.merges.emplace_back(SpellBytes("\n"), SpellBytes("\n"));
  source.merges.emplace_back(SpellBytes("\xC3"), SpellBytes("\xA9"));
  for (const auto& [left, right] : source.merges) {
    if (left + right != "<|" && left + right != "abc") {
      source.tokens.push_back(left + right);
      source.kinds.push_back(TokenKind::kNormal);
    }
  }
  source.tokens.emplace_back("abc");
  source.kinds.push_back(TokenKind::kNormal);
  return source;
}

const Tokenizer& Chosen(uint8_t options) {
  static const auto* const tokenizers = [] {
    auto* const all = new std::unique_ptr<Tokenizer>[8];
    size_t next = 0;
    for (const bool with_all_bytes : {true, false}) {
      for (const char* const name : {"smollm", "gpt-2", "llama-bpe", "qwen2"}) {
        auto tokenizer = Tokenizer::Create(Source(name, with_all_bytes));
        Check(tokenizer.ok());
        all[next++] = *std::move(tokenizer);
      }
    }
    return all;
  }();
  return *tokenizers[(options & 3) | (options >> 1 & 4)];
}

void TokeniseOne(uint8_t options, std::string_view text) {
  const Tokenizer& tokenizer = Chosen(options);
  const bool parse = (options & 4) != 0;
  const auto tokens = tokenizer.Encode(
      text, parse ? SpecialTokens::kParse : SpecialTokens::kAsText);
  Check(tokens.ok() == (ValidateUtf8(text) == std::string_view::npos));
  if (!tokens.ok()) {
    return;
  }
  for (const int32_t id : tokens->ids) {
    Check(id >= (parse ? 0 : kNumSpecial) && id < tokenizer.vocabulary_size());
  }
  const std::string decoded = tokenizer.Decode(tokens->ids, true);
  Check(decoded.size() + static_cast<size_t>(tokens->dropped_bytes) ==
        text.size());
  const bool with_all_bytes = (options & 8) == 0;
  Check(!with_all_bytes || decoded == text);
}

}  // namespace
}  // namespace winnow

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size > 0) {
    winnow::TokeniseOne(bytes[0],
                        {reinterpret_cast<const char*>(bytes) + 1, size - 1});
  }
  return 0;
}
