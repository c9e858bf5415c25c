#include "gpu/model/tokenizer.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/model/byte_level.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<int32_t>;
using Merges = std::vector<std::pair<std::string, std::string>>;

constexpr int32_t kFirstJoined = 256;

// Id i < 256 is byte i; `merges` follow in order, and then `special`.
TokenizerSource ByteSource(const Merges& merges = {},
                           const std::vector<std::string>& special = {}) {
  TokenizerSource source;
  source.model = "bpe";
  source.pre_tokenizer = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    source.tokens.push_back(SpellBytes(std::string_view(&character, 1)));
  }
  for (const auto& [left, right] : merges) {
    source.tokens.push_back(left + right);
  }
  source.kinds.assign(source.tokens.size(), TokenKind::kNormal);
  source.merges = merges;
  for (const std::string& marker : special) {
    source.tokens.push_back(marker);
    source.kinds.push_back(TokenKind::kSpecial);
  }
  return source;
}

std::unique_ptr<Tokenizer> Create(const TokenizerSource& source) {
  return Tokenizer::Create(source).value();
}

Ids Encode(const Tokenizer& tokenizer, std::string_view text,
           SpecialTokens special = SpecialTokens::kAsText) {
  return tokenizer.Encode(text, special).value().ids;
}

TEST(TokenizerTest, JoinsTheLowestRankFirst) {
  const auto tokenizer = Create(ByteSource({{"b", "c"}, {"a", "b"}}));
  EXPECT_THAT(Encode(*tokenizer, "abc"), ElementsAre('a', kFirstJoined));
  EXPECT_THAT(Encode(*tokenizer, "ab"), ElementsAre(kFirstJoined + 1));
}

TEST(TokenizerTest, JoinsTheLeftmostOfEqualRank) {
  const auto tokenizer = Create(ByteSource({{"a", "a"}}));
  EXPECT_THAT(Encode(*tokenizer, "aaa"), ElementsAre(kFirstJoined, 'a'));
}

// Joins pair after pair by looking through all of them each time.
Ids MergedByHand(const Merges& merges, const std::string& text) {
  std::vector<std::string> symbols;
  for (const char byte : text) {
    symbols.emplace_back(1, byte);
  }
  while (true) {
    auto rank = merges.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = static_cast<size_t>(
          std::ranges::find(merges, std::pair(symbols[i], symbols[i + 1])) -
          merges.begin());
      if (found < rank) {
        rank = found;
        at = i;
      }
    }
    if (rank == merges.size()) {
      break;
    }
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) {
    int32_t id = static_cast<uint8_t>(symbol[0]);
    for (size_t i = 0; i < merges.size() && symbol.size() > 1; ++i) {
      if (merges[i].first + merges[i].second == symbol) {
        id = kFirstJoined + static_cast<int32_t>(i);
      }
    }
    ids.push_back(id);
  }
  return ids;
}

// Merges of the letters a to c in random order, each making a new token.
Merges RandomMerges(std::mt19937& random) {
  std::vector<std::string> tokens = {"a", "b", "c"};
  Merges merges;
  while (merges.size() < 12) {
    const std::string& left = tokens[random() % tokens.size()];
    const std::string& right = tokens[random() % tokens.size()];
    if (std::ranges::find(tokens, left + right) == tokens.end()) {
      merges.emplace_back(left, right);
      tokens.push_back(merges.back().first + merges.back().second);
    }
  }
  std::ranges::shuffle(merges, random);
  return merges;
}

TEST(TokenizerTest, MergesAsALoopOverAllPairsDoes) {
  constexpr uint32_t kSeed = 20260112;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    const Merges merges = RandomMerges(random);
    const auto tokenizer = Create(ByteSource(merges));
    for (int i = 0; i < 20; ++i) {
      std::string text(random() % 60, 'a');
      for (char& letter : text) {
        letter = static_cast<char>('a' + random() % 3);
      }
      ASSERT_EQ(Encode(*tokenizer, text), MergedByHand(merges, text)) << text;
    }
  }
}

TEST(TokenizerTest, DropsAndCountsBytesWithoutAToken) {
  TokenizerSource source = ByteSource({{"!", "!"}});
  source.kinds['\x04'] = TokenKind::kUnused;
  const auto tokenizer = Create(source);
  const TokenizedText text =
      tokenizer->Encode("!\x04!\x04", SpecialTokens::kAsText).value();
  EXPECT_THAT(text.ids, ElementsAre(kFirstJoined));
  EXPECT_EQ(text.dropped_bytes, 2);
}

TEST(TokenizerTest, NamesTheByteWhereTextIsNotUtf8) {
  const auto tokenizer = Create(ByteSource());
  for (const SpecialTokens special :
       {SpecialTokens::kAsText, SpecialTokens::kParse}) {
    const auto text = tokenizer->Encode("abc\xED\xA0\x80", special);
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::EndsWith(text.status().message(), "at byte 3"));
  }
}

TEST(TokenizerTest, ParsesTheLeftmostAndThenTheLongestMarker) {
  const auto tokenizer =
      Create(ByteSource({}, {"<a>", "<a><b>", "><", "<a><b"}));
  const int32_t first = tokenizer->SpecialId("<a>").value();
  EXPECT_THAT(Encode(*tokenizer, "x<a><b>", SpecialTokens::kParse),
              ElementsAre('x', first + 1));
  EXPECT_THAT(Encode(*tokenizer, "<a><b<a>", SpecialTokens::kParse),
              ElementsAre(first + 3, first));
  EXPECT_THAT(Encode(*tokenizer, "<<a><", SpecialTokens::kParse),
              ElementsAre('<', first, '<'));
}

TEST(TokenizerTest, TakesMarkersAsLettersInUserText) {
  const auto tokenizer = Create(ByteSource({}, {"<a>"}));
  EXPECT_THAT(Encode(*tokenizer, "<a>"), ElementsAre('<', 'a', '>'));
}

TEST(TokenizerTest, MergesNeverReachASpecialToken) {
  // The merges say how to get to the marker; user text must not take it.
  TokenizerSource source = ByteSource({{"<", "|"}, {"<|", ">"}});
  source.kinds[kFirstJoined + 1] = TokenKind::kSpecial;
  const auto tokenizer = Create(source);
  EXPECT_THAT(Encode(*tokenizer, "<|>"), ElementsAre(kFirstJoined, '>'));
  EXPECT_THAT(Encode(*tokenizer, "<|>", SpecialTokens::kParse),
              ElementsAre(kFirstJoined + 1));
}

TEST(TokenizerTest, AWholePieceIsNeverASpecialToken) {
  TokenizerSource source = ByteSource({{"h", "i"}}, {"yo"});
  source.pre_tokenizer = "llama-bpe";
  const auto tokenizer = Create(source);
  EXPECT_THAT(Encode(*tokenizer, "yo"), ElementsAre('y', 'o'));
}

TEST(TokenizerTest, Llama3TakesAWholePieceBeforeItMerges) {
  TokenizerSource source = ByteSource({{"b", "c"}, {"a", "b"}, {"ab", "c"}});
  EXPECT_THAT(Encode(*Create(source), "abc"), ElementsAre('a', kFirstJoined));
  source.pre_tokenizer = "llama-bpe";
  EXPECT_THAT(Encode(*Create(source), "abc"), ElementsAre(kFirstJoined + 2));
}

TEST(TokenizerTest, NamesAPreTokenizerThatItDoesNotKnow) {
  TokenizerSource source = ByteSource();
  source.pre_tokenizer = "mystery";
  const absl::Status status = Tokenizer::Create(source).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(absl::StrContains(status.message(), "\"mystery\""));
  source.model = "llama";
  EXPECT_TRUE(absl::StrContains(Tokenizer::Create(source).status().message(),
                                "\"llama\""));
}

TEST(TokenizerTest, RefusesASourceThatContradictsItself) {
  const auto refused = [](const TokenizerSource& source) {
    return Tokenizer::Create(source).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  TokenizerSource source = ByteSource();
  source.tokens.clear();
  source.kinds.clear();
  EXPECT_TRUE(refused(source)) << "no tokens";
  source = ByteSource();
  source.kinds.pop_back();
  EXPECT_TRUE(refused(source)) << "a kind is missing";
  source = ByteSource();
  source.merges = {{"a", "b"}};
  EXPECT_TRUE(refused(source)) << "the joined token is missing";
  source = ByteSource({{"a", "b"}});
  source.merges.emplace_back("a", "b");
  EXPECT_TRUE(refused(source)) << "a merge is there twice";
  EXPECT_TRUE(refused(ByteSource({{"a", "bc"}, {"ab", "c"}})))
      << "a token is there twice";
  EXPECT_TRUE(refused(ByteSource({}, {"<a>", "<a>"})));
  EXPECT_TRUE(refused(ByteSource({}, {""})));
  EXPECT_TRUE(refused(ByteSource({}, {"\x80"}))) << "cuts a character";
}

TEST(TokenizerTest, DecodesAddedTokensThatAreListedAsNormal) {
  TokenizerSource source = ByteSource();
  source.tokens.emplace_back("added token");  // a blank is not byte-level
  source.kinds.push_back(TokenKind::kNormal);
  const auto tokenizer = Create(source);
  EXPECT_EQ(tokenizer->TokenBytes(kFirstJoined, false), "added token");
}

TEST(TokenizerTest, DecodesSpecialTokensOnlyWhenAsked) {
  const auto tokenizer = Create(ByteSource({}, {"<a>"}));
  const Ids ids = {'x', kFirstJoined, -1, kFirstJoined + 1, 'y'};
  EXPECT_EQ(tokenizer->Decode(ids, false), "xy");
  EXPECT_EQ(tokenizer->Decode(ids, true), "x<a>y");
  EXPECT_EQ(tokenizer->vocabulary_size(), kFirstJoined + 1);
}

TEST(TokenizerTest, KnowsSpecialTokensByTheirMarkers) {
  const auto tokenizer = Create(ByteSource({}, {"<a>"}));
  EXPECT_EQ(tokenizer->SpecialId("<a>").value(), kFirstJoined);
  EXPECT_EQ(tokenizer->SpecialId("a").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(TokenizerTest, TheDigestIsOfWhatChangesIds) {
  const TokenizerSource source = ByteSource({{"a", "b"}, {"b", "c"}}, {"<a>"});
  const auto digest = Create(source)->digest();
  TokenizerSource other = source;
  other.chat_template = "other";
  EXPECT_EQ(Create(other)->digest(), digest);
  other = source;
  other.pre_tokenizer = "default";  // another name of gpt-2
  EXPECT_EQ(Create(other)->digest(), digest);
  other.pre_tokenizer = "qwen2";
  EXPECT_NE(Create(other)->digest(), digest);
  other = source;
  std::swap(other.merges[0], other.merges[1]);
  EXPECT_NE(Create(other)->digest(), digest);
  other = source;
  std::swap(other.tokens[0], other.tokens[1]);
  EXPECT_NE(Create(other)->digest(), digest);
  other = source;
  other.kinds.back() = TokenKind::kUnused;
  EXPECT_NE(Create(other)->digest(), digest);
}

}  // namespace
}  // namespace winnow
