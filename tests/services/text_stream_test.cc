#include "services/gateway/text_stream.h"

#include <algorithm>
#include <set>

#include "gtest/gtest.h"

#include "gpu/base/counter_random.h"
#include "gpu/base/utf8.h"
#include <nlohmann/json.hpp>

namespace winnow {
namespace {

// Ill-formed sequences replaced, as another implementation has it.
std::string Repaired(const std::string& bytes) {
  const std::string quoted = nlohmann::json(bytes).dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(quoted).get<std::string>();
}

std::string Encoded(uint32_t point) {
  const auto tail = [&](int shift) {
    return static_cast<char>(0x80 | ((point >> shift) & 0x3F));
  };
  if (point < 0x80) {
    return {static_cast<char>(point)};
  }
  if (point < 0x800) {
    return {static_cast<char>(0xC0 | (point >> 6)), tail(0)};
  }
  if (point < 0x10000) {
    return {static_cast<char>(0xE0 | (point >> 12)), tail(6), tail(0)};
  }
  return {static_cast<char>(0xF0 | (point >> 18)), tail(12), tail(6), tail(0)};
}

// Every proper start of every character.
const std::set<std::string>& Starts() {
  static const auto* const kStarts = [] {
    auto* const starts = new std::set<std::string>;
    for (uint32_t point = 0x80; point <= 0x10FFFF; ++point) {
      if (point >= 0xD800 && point <= 0xDFFF) {
        continue;
      }
      const std::string character = Encoded(point);
      for (size_t length = 1; length < character.size(); ++length) {
        starts->insert(character.substr(0, length));
      }
    }
    return starts;
  }();
  return *kStarts;
}

// The text before the first stop text: tries every end, then every stop.
std::string BeforeStop(const std::string& text,
                       const std::vector<std::string>& stops, bool& stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (end >= stop.size() &&
          text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) {
      stopped = true;
      return text.substr(0, end - longest);
    }
  }
  stopped = false;
  return text;
}

// All that may be shown once `bytes` have come.
std::string MayBeShown(const std::string& bytes,
                       const std::vector<std::string>& stops, bool& stopped) {
  size_t tail = std::min<size_t>(bytes.size(), 3);
  while (tail > 0 && !Starts().contains(bytes.substr(bytes.size() - tail))) {
    --tail;
  }
  const std::string text = Repaired(bytes.substr(0, bytes.size() - tail));
  const std::string before = BeforeStop(text, stops, stopped);
  if (stopped) {
    return before;
  }
  for (size_t from = 0; from < text.size(); ++from) {
    const std::string suffix = text.substr(from);
    if (std::ranges::any_of(stops, [&](const std::string& stop) {
          return suffix.size() < stop.size() && stop.starts_with(suffix);
        })) {
      return text.substr(0, from);
    }
  }
  return text;
}

// Numbers in a row, by seed.
class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  size_t Roll(size_t sides) { return RandomAt(seed_, next_++) % sides; }
  template <typename List>
  auto& Pick(const List& list) {
    return list[Roll(std::size(list))];
  }

 private:
  const uint64_t seed_;
  uint64_t next_ = 0;
};

const std::vector<std::string>& Bricks() {
  static const auto* const kBricks = new std::vector<std::string>{
      "a",    "b",    "ab",   "c",        "\u00E9",       "\u20AC",
      "\xE2", "\x82", "\xC3", "\xED",     "\U0001F600",   "\xF0",
      "\x9F", "\x80", "\xA0", "\xC0",     "\xFF",         "\xF4",
      "\x90", "\xE0", "\n",   "\xF0\x9F", "\xE2\x82\xAC", "\uFFFD"};
  return *kBricks;
}

std::string RandomText(Dice& dice, size_t most, size_t kinds) {
  std::string text;
  for (size_t left = dice.Roll(most); left > 0; --left) {
    text += Bricks()[dice.Roll(kinds)];
  }
  return text;
}

TEST(TextStreamTest, ShowsWhatItMayAndNothingElseHoweverTheBytesAreCut) {
  int stops_seen = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Dice dice(seed);
    const bool plain = dice.Roll(2) == 0;
    const std::string bytes = RandomText(dice, 24, plain ? 5 : Bricks().size());
    std::vector<std::string> stops;
    for (size_t left = dice.Roll(4); left > 0; --left) {
      stops.push_back(Repaired(RandomText(dice, 5, 6)) + "b");
    }
    TextStream stream(stops);
    std::string shown;
    std::string fed;
    bool stopped = false;
    while (fed.size() < bytes.size()) {
      const std::string token = bytes.substr(fed.size(), dice.Roll(6));
      fed += token;
      const std::string piece = stream.Push(token);
      ASSERT_EQ(ValidateUtf8(piece), std::string::npos) << "seed " << seed;
      shown += piece;
      ASSERT_EQ(shown, MayBeShown(fed, stops, stopped)) << "seed " << seed;
      ASSERT_EQ(stream.stopped(), stopped) << "seed " << seed;
    }
    shown += stream.Finish();
    ASSERT_EQ(shown, BeforeStop(Repaired(bytes), stops, stopped))
        << "seed " << seed;
    ASSERT_EQ(stream.stopped(), stopped) << "seed " << seed;
    stops_seen += stopped ? 1 : 0;
  }
  EXPECT_GT(stops_seen, 500);  // or the test says little
}

TEST(TextStreamTest, ACharacterWaitsForItsLastByte) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80"), "\U0001F600");
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Push("!"), "\uFFFD!");
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
}

TEST(TextStreamTest, TheStopTextThatIsCompleteFirstWins) {
  TextStream across({"\n\nUser:", "END"});
  EXPECT_EQ(across.Push("Yes.\n"), "Yes.");
  EXPECT_EQ(across.Push("\nUs"), "");
  EXPECT_EQ(across.Push("e it"), "\n\nUse it");
  EXPECT_EQ(across.Push(" E"), " ");
  EXPECT_EQ(across.Push("ND more"), "");
  EXPECT_TRUE(across.stopped());
  EXPECT_EQ(across.Push("END"), "");
  EXPECT_EQ(across.Finish(), "");

  TextStream overlapping({"abcd", "bc"});
  EXPECT_EQ(overlapping.Push("xabcd"), "xa");
  TextStream longest({"c", "abc"});
  EXPECT_EQ(longest.Push("xabc"), "x");
}

TEST(TextStreamTest, TheLargestStopTextsAreFoundFromTheirLastByte) {
  std::vector<std::string> stops;
  for (size_t i = 0; i < kMaxStops; ++i) {
    stops.push_back(std::string(kMaxStopBytes - 1, 'a') +
                    static_cast<char>('A' + i));
  }
  TextStream stream(stops);
  const std::string run(1000, 'a');
  const std::string shown = stream.Push(run);
  EXPECT_EQ(shown.size(), run.size() - (kMaxStopBytes - 1));
  EXPECT_EQ(stream.Push("P"), "");
  EXPECT_TRUE(stream.stopped());
}

}  // namespace
}  // namespace winnow
