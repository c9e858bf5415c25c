#include "gpu/base/utf8.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace winnow {
namespace {

using std::string_view_literals::operator""sv;

constexpr size_t kValid = std::string_view::npos;

// The bytes that `code_point` would have if nothing were forbidden.
std::string Encoded(uint32_t code_point, int length) {
  std::string bytes(static_cast<size_t>(length), '\0');
  for (int i = length - 1; i > 0; --i) {
    bytes[static_cast<size_t>(i)] = static_cast<char>(0x80 | (code_point & 63));
    code_point >>= 6;
  }
  const uint32_t marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
  bytes[0] = static_cast<char>(marks[length] | code_point);
  return bytes;
}

TEST(Utf8Test, AcceptsExactlyTheScalarValuesInTheirShortestForm) {
  for (uint32_t c = 0; c < 0x200000; ++c) {
    const int shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    const bool scalar = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    for (int length = shortest; length <= 4; ++length) {
      const bool valid = scalar && length == shortest;
      ASSERT_EQ(ValidateUtf8(Encoded(c, length)), valid ? kValid : 0)
          << "U+" << std::hex << c << " in " << length << " bytes";
    }
  }
}

TEST(Utf8Test, NamesTheFirstByteOfTheFirstIllFormedSequence) {
  EXPECT_EQ(ValidateUtf8("ab\x80"sv), 2);
  EXPECT_EQ(ValidateUtf8("\xC3\xA9\xC3"sv), 2);
  EXPECT_EQ(ValidateUtf8("\xE4\xB8\xAD\xE4\xB8"sv), 3);
  EXPECT_EQ(ValidateUtf8("x\xF0\x9F\x98y"sv), 1);
  EXPECT_EQ(ValidateUtf8("\xFF\xFE"sv), 0);
}

TEST(Utf8Test, AcceptsEmptyTextAndNulBytes) {
  EXPECT_EQ(ValidateUtf8(""sv), kValid);
  EXPECT_EQ(ValidateUtf8("a\0b"sv), kValid);
}

TEST(Utf8Test, FindsABadByteAtEveryPlaceInALongAsciiText) {
  for (size_t at = 0; at < 40; ++at) {
    std::string text(40, 'a');
    text[at] = '\xC0';
    EXPECT_EQ(ValidateUtf8(text), at);
  }
}

}  // namespace
}  // namespace winnow
