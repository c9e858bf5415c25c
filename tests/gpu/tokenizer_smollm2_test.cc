// The tokenizer with SmolLM2's own vocabulary: goldens of Hugging Face's
// tokenizer (tests/golden/README.md), and bounds on time.

#include <chrono>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/gpu/smollm2.h"

namespace winnow {
namespace {

using Ids = std::vector<int32_t>;

nlohmann::json Golden(const std::string& name) {
  std::ifstream file(std::string(WINNOW_GOLDEN_DIR "/smollm2/") + name);
  return nlohmann::json::parse(file);
}

class TokenizerSmolLm2Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_source = new TokenizerSource(
        LoadModel(FetchedModelPath()).value()->tokenizer_source());
  }
  static void TearDownTestSuite() { delete shared_source; }

  static std::unique_ptr<Tokenizer> Create(const std::string& pre_tokenizer) {
    TokenizerSource source = *shared_source;
    source.pre_tokenizer = pre_tokenizer;
    return Tokenizer::Create(source).value();
  }

  static inline const TokenizerSource* shared_source = nullptr;
};

TEST_F(TokenizerSmolLm2Test, GivesTheIdsAndTextsOfTheReference) {
  const auto tokenizer = Tokenizer::Create(*shared_source).value();
  const nlohmann::json cases = Golden("tokenizer.json");
  ASSERT_EQ(cases.size(), 150);
  for (const auto& golden : cases) {
    const auto text = golden["text"].get<std::string>();
    const TokenizedText tokens =
        tokenizer->Encode(text, SpecialTokens::kParse).value();
    EXPECT_EQ(tokens.ids, golden["ids"].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->Decode(tokens.ids, true),
              golden["decoded"].get<std::string>());
  }
}

TEST_F(TokenizerSmolLm2Test, TokenisesUserTextAsTheReferenceDoes) {
  const auto tokenizer = Tokenizer::Create(*shared_source).value();
  const nlohmann::json cases = Golden("tokenizer_user_text.json");
  ASSERT_EQ(cases.size(), 12);
  for (const auto& golden : cases) {
    const auto text = golden["text"].get<std::string>();
    EXPECT_EQ(tokenizer->Encode(text, SpecialTokens::kAsText).value().ids,
              golden["ids_as_user_text"].get<Ids>())
        << text;
    EXPECT_EQ(tokenizer->Encode(text, SpecialTokens::kParse).value().ids,
              golden["ids_with_special_tokens"].get<Ids>())
        << text;
  }
}

TEST_F(TokenizerSmolLm2Test, NeverYieldsTheUnknownToken) {
  const auto tokenizer = Tokenizer::Create(*shared_source).value();
  const TokenizedText tokens =
      tokenizer->Encode("\x04\x06\x13", SpecialTokens::kAsText).value();
  EXPECT_THAT(tokens.ids, ::testing::IsEmpty());
  EXPECT_EQ(tokens.dropped_bytes, 3);
}

// Tokenises `bytes` of `unit` over and over.  One thing repeated is one piece,
// or a million; either way a few seconds for 4 MB.  The bound leaves room for
// sanitizers and busy machines: work that grew as n squared would take hours.
void ExpectQuick(const Tokenizer& tokenizer, const std::string& unit,
                 size_t bytes) {
  SCOPED_TRACE(unit);
  constexpr std::chrono::seconds kLimit(60);
  std::string text;
  while (text.size() < bytes) {
    text += unit;
  }
  text += "x";
  const auto begin = std::chrono::steady_clock::now();
  const TokenizedText tokens =
      tokenizer.Encode(text, SpecialTokens::kParse).value();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLimit);
  EXPECT_EQ(tokens.dropped_bytes, 0);
  EXPECT_TRUE(tokenizer.Decode(tokens.ids, true) == text);
}

TEST_F(TokenizerSmolLm2Test, TokenisesFourMegabytesOfOneThingInSeconds) {
  constexpr size_t kNumBytes = size_t{4} << 20;
  const auto tokenizer = Tokenizer::Create(*shared_source).value();
  for (const char* const unit : {"a", " ", "\n", " \n", "7", "!", "\u0301",
                                 "\u3000", "\U0001F600", "<|im_end|"}) {
    ExpectQuick(*tokenizer, unit, kNumBytes);
  }
}

TEST_F(TokenizerSmolLm2Test, NoRuleIsSlowOnOneThing) {
  constexpr size_t kNumBytes = size_t{1} << 20;
  for (const char* const name : {"gpt-2", "llama-bpe", "qwen2"}) {
    SCOPED_TRACE(name);
    const auto tokenizer = Create(name);
    for (const char* const unit :
         {"a", " ", "\n", " \n", "\r\n", "\t ", "7", "!", "'", "\u0301"}) {
      ExpectQuick(*tokenizer, unit, kNumBytes);
    }
  }
}

}  // namespace
}  // namespace winnow
