#include "gpu/model/hf_tokenizer.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "nlohmann/json.hpp"
#include "tests/gpu/gguf_writer.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::json;

constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kQwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json Sequence(const Json& first, const Json& second) {
  return {{"type", "Sequence"},
          {"pretokenizers", Json::array({first, second})}};
}

Json Split(const std::string& expression) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", expression}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json Tokenizer() {
  return Json::parse(R"({
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                      "use_regex": true},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
              "merges": ["a b"]},
    "added_tokens": [{"id": 3, "content": "<|end|>", "special": true}]
  })");
}

absl::StatusOr<TokenizerSource> Read(const Json& tokenizer,
                                     const std::string& config = "",
                                     const std::string& chat_template = "") {
  return ReadHfTokenizer({.tokenizer = AsBytes(tokenizer.dump()),
                          .tokenizer_config = AsBytes(config),
                          .chat_template = chat_template});
}

void ExpectInvalid(const Json& tokenizer, const std::string& message) {
  const absl::Status status = Read(tokenizer).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(HfTokenizerTest, ReadsVocabularyAndAddedTokens) {
  const absl::StatusOr<TokenizerSource> source = Read(Tokenizer());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->model, "bpe");
  EXPECT_THAT(source->tokens, ElementsAre("a", "b", "ab", "<|end|>"));
  EXPECT_THAT(source->kinds,
              ElementsAre(TokenKind::kNormal, TokenKind::kNormal,
                          TokenKind::kNormal, TokenKind::kSpecial));
}

TEST(HfTokenizerTest, ReadsMergesAsTextAndAsPairs) {
  Json tokenizer = Tokenizer();
  EXPECT_THAT(Read(tokenizer)->merges, ElementsAre(std::pair("a", "b")));
  tokenizer["model"]["merges"] = Json::parse(R"([["a", "b"]])");
  EXPECT_THAT(Read(tokenizer)->merges, ElementsAre(std::pair("a", "b")));
  for (const char* wrong : {R"(["ab"])", R"(["a b c"])", R"([" b"])", "[7]",
                            R"([["a", "b", "c"]])", R"([["a", 1]])"}) {
    tokenizer["model"]["merges"] = Json::parse(wrong);
    ExpectInvalid(tokenizer, "merge 0");
  }
}

TEST(HfTokenizerTest, NamesTheSplittingRulesThatGgufNames) {
  const auto rule = [](const Json& pre_tokenizer, bool ignore_merges) {
    Json tokenizer = Tokenizer();
    tokenizer["pre_tokenizer"] = pre_tokenizer;
    tokenizer["model"]["ignore_merges"] = ignore_merges;
    return Read(tokenizer)->pre_tokenizer;
  };
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(rule(ByteLevel(true), false), "gpt-2");
  EXPECT_EQ(rule(Sequence(digits, ByteLevel(true)), false), "smollm");
  EXPECT_EQ(rule(Sequence(Split(kLlama3), ByteLevel(false)), true),
            "llama-bpe");
  EXPECT_EQ(rule(Sequence(Split(kQwen2), ByteLevel(false)), false), "qwen2");
  EXPECT_THAT(rule(Sequence(Split("\\d"), ByteLevel(false)), false),
              StartsWith("sha256:"));
  EXPECT_THAT(rule(Sequence(Split(kQwen2), ByteLevel(false)), true),
              StartsWith("sha256:"));
  EXPECT_THAT(rule({{"type", "Metaspace"}}, false), StartsWith("sha256:"));
}

TEST(HfTokenizerTest, TakesNfcBeforeQwen2Alone) {
  Json tokenizer = Tokenizer();
  tokenizer["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(Read(tokenizer)->pre_tokenizer, StartsWith("sha256:"));
  tokenizer["pre_tokenizer"] = Sequence(Split(kQwen2), ByteLevel(false));
  EXPECT_EQ(Read(tokenizer)->pre_tokenizer, "qwen2");
}

TEST(HfTokenizerTest, NamesModelsThatAreNotByteLevelBpe) {
  Json tokenizer = Tokenizer();
  tokenizer["model"]["byte_fallback"] = true;
  EXPECT_EQ(Read(tokenizer)->model, "bpe with byte fallback");
  tokenizer["model"] = {{"type", "Unigram"}};
  EXPECT_EQ(Read(tokenizer)->model, "unigram");
}

TEST(HfTokenizerTest, FindsTheBeginningOfText) {
  Json tokenizer = Tokenizer();
  EXPECT_EQ(Read(tokenizer)->beginning_of_text, std::nullopt);
  const absl::StatusOr<TokenizerSource> configured =
      Read(tokenizer, R"({"bos_token":{"content":"<|end|>"},
                          "add_bos_token":true})");
  EXPECT_EQ(configured->beginning_of_text, 3);
  EXPECT_TRUE(configured->add_beginning_of_text);
  EXPECT_FALSE(
      Read(tokenizer, R"({"bos_token":"<|end|>"})")->add_beginning_of_text);

  tokenizer["post_processor"] = Json::parse(R"({
    "type": "Sequence",
    "processors": [
      {"type": "ByteLevel"},
      {"type": "TemplateProcessing",
       "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                  {"Sequence": {"id": "A", "type_id": 0}}]}]
  })");
  const absl::StatusOr<TokenizerSource> templated = Read(tokenizer);
  EXPECT_EQ(templated->beginning_of_text, 3);
  EXPECT_TRUE(templated->add_beginning_of_text);
}

TEST(HfTokenizerTest, PrefersTheChatTemplateOfItsOwnFile) {
  const std::string config = R"({"chat_template":"inner"})";
  EXPECT_EQ(Read(Tokenizer(), config)->chat_template, "inner");
  EXPECT_EQ(Read(Tokenizer(), config, "outer")->chat_template, "outer");
  EXPECT_EQ(Read(Tokenizer(), R"({"chat_template":[
                 {"name":"tool_use","template":"t"},
                 {"name":"default","template":"d"}]})")
                ->chat_template,
            "d");
}

TEST(HfTokenizerTest, RefusesIdsOutOfRangeOrTakenTwice) {
  Json tokenizer = Tokenizer();
  tokenizer["model"]["vocab"]["a"] = 4'000'000'000u;
  ExpectInvalid(tokenizer, "no id in range");
  tokenizer["model"]["vocab"]["a"] = -1;
  ExpectInvalid(tokenizer, "no id in range");
  tokenizer["model"]["vocab"]["a"] = 1;
  ExpectInvalid(tokenizer, "belongs to two tokens");
}

TEST(HfTokenizerTest, MarksHolesAsUnused) {
  Json tokenizer = Tokenizer();
  tokenizer["added_tokens"][0]["id"] = 5;
  const absl::StatusOr<TokenizerSource> source = Read(tokenizer);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->kinds[4], TokenKind::kUnused);
  EXPECT_EQ(source->tokens[5], "<|end|>");
}

TEST(HfTokenizerTest, IsEmptyWhereThereIsNoFile) {
  EXPECT_TRUE(ReadHfTokenizer({})->model.empty());
}

}  // namespace
}  // namespace winnow
