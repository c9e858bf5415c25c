#include "gpu/model/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace winnow {
namespace {

constexpr int kFirstStandIn = 0x100;
constexpr int kNumStandIns = 68;

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
         byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> character_of_byte{};
  // By code point; -1: not of the alphabet.
  std::array<int16_t, kFirstStandIn + kNumStandIns> byte_of_character{};
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte_of_character) {
    byte = -1;
  }
  int next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = StandsForItself(byte) ? byte : next++;
    alphabet.character_of_byte[static_cast<size_t>(byte)] =
        static_cast<uint16_t>(character);
    alphabet.byte_of_character[static_cast<size_t>(character)] =
        static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::optional<std::string> BytesOfSpelling(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  for (size_t i = 0; i < spelling.size(); ++i) {
    size_t character = static_cast<uint8_t>(spelling[i]);
    if (character >= 0x80) {
      // All of the alphabet lies below U+0800: two bytes a character.
      if ((character & 0xE0) != 0xC0 || i + 1 == spelling.size()) {
        return std::nullopt;
      }
      const auto tail = static_cast<uint8_t>(spelling[++i]);
      if ((tail & 0xC0) != 0x80) {
        return std::nullopt;
      }
      character = (character & 0x1F) << 6 | (tail & 0x3F);
      if (character < 0x80) {  // overlong
        return std::nullopt;
      }
    }
    if (character >= kAlphabet.byte_of_character.size() ||
        kAlphabet.byte_of_character[character] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(kAlphabet.byte_of_character[character]));
  }
  return bytes;
}

std::string SpellBytes(std::string_view bytes) {
  std::string spelling;
  spelling.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    const uint16_t character =
        kAlphabet.character_of_byte[static_cast<uint8_t>(byte)];
    if (character < 0x80) {
      spelling.push_back(static_cast<char>(character));
    } else {
      spelling.push_back(static_cast<char>(0xC0 | character >> 6));
      spelling.push_back(static_cast<char>(0x80 | (character & 0x3F)));
    }
  }
  return spelling;
}

}  // namespace winnow
