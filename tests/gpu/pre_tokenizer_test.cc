#include "gpu/model/pre_tokenizer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Pieces(std::string_view name, std::string_view text) {
  std::vector<size_t> ends;
  EXPECT_TRUE(PreTokenizer::Create(name).value()->Split(text, ends).ok());
  std::vector<std::string> pieces;
  size_t begin = 0;
  for (const size_t end : ends) {
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return pieces;
}

constexpr const char* kNames[] = {"smollm", "gpt-2", "llama-bpe", "qwen2"};
constexpr std::string_view kText = "it's 12345  \n\n x'S!\n";

TEST(PreTokenizerTest, SmolLmSplitsSingleDigitsFirst) {
  EXPECT_THAT(Pieces("smollm", kText),
              ElementsAre("it", "'s", " ", "1", "2", "3", "4", "5", "  \n\n",
                          " x", "'", "S", "!", "\n"));
}

TEST(PreTokenizerTest, Gpt2TakesNumbersWithTheirBlank) {
  for (const char* const name : {"gpt-2", "default"}) {
    EXPECT_THAT(Pieces(name, kText), ElementsAre("it", "'s", " 12345", "  \n\n",
                                                 " x", "'", "S", "!", "\n"));
  }
}

TEST(PreTokenizerTest, Llama3TakesThreeDigitsAtATime) {
  EXPECT_THAT(
      Pieces("llama-bpe", kText),
      ElementsAre("it", "'s", " ", "123", "45", "  \n\n", " x", "'S", "!\n"));
}

TEST(PreTokenizerTest, Qwen2TakesOneDigitAtATime) {
  EXPECT_THAT(Pieces("qwen2", kText),
              ElementsAre("it", "'s", " ", "1", "2", "3", "4", "5", "  \n\n",
                          " x", "'S", "!\n"));
}

TEST(PreTokenizerTest, ADigitEndsTheSpacesBeforeItInSmolLm) {
  EXPECT_THAT(Pieces("smollm", "a   1"), ElementsAre("a", "   ", "1"));
  EXPECT_THAT(Pieces("gpt-2", "a   1"), ElementsAre("a", "  ", " 1"));
}

TEST(PreTokenizerTest, SpacesAreThoseOfUnicodesWhiteSpaceProperty) {
  for (const char* const name : kNames) {
    EXPECT_THAT(Pieces(name, "a \u180E"), ElementsAre("a", " \u180E")) << name;
    for (const char* const space : {"\u0085", "\u2028", "\u3000", "\x0B"}) {
      EXPECT_THAT(Pieces(name, std::string("!") + space),
                  ElementsAre("!", space))
          << name;
    }
  }
}

TEST(PreTokenizerTest, NewlinesEndARunOfSpacesInLlama3AndQwen2) {
  for (const char* const name : {"llama-bpe", "qwen2"}) {
    EXPECT_THAT(Pieces(name, " \n \n  a"), ElementsAre(" \n \n", " ", " a"));
    EXPECT_THAT(Pieces(name, "\r\n \t"), ElementsAre("\r\n", " \t"));
  }
}

TEST(PreTokenizerTest, EmptyTextHasNoPieces) {
  for (const char* const name : kNames) {
    EXPECT_THAT(Pieces(name, ""), IsEmpty());
  }
}

TEST(PreTokenizerTest, TheDescriptionIsOfTheRuleNotOfItsName) {
  const auto description = [](std::string_view name) {
    return PreTokenizer::Create(name).value()->description();
  };
  EXPECT_EQ(description("default"), description("gpt-2"));
  EXPECT_NE(description("qwen2"), description("llama-bpe"));
}

}  // namespace
}  // namespace winnow
