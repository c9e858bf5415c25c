#include "gpu/base/utf8.h"

#include <cstdint>
#include <cstring>

namespace winnow {
namespace {

// What may follow a lead byte: how many bytes, and the range of the first of
// them; the others are 80..BF.
struct Tail {
  size_t length;
  uint8_t low;
  uint8_t high;
};

// Length 0: `lead` cannot begin a sequence of several bytes.
Tail TailOf(uint8_t lead) {
  if (lead < 0xC2 || lead > 0xF4) {
    return {0, 0, 0};
  }
  if (lead < 0xE0) {
    return {1, 0x80, 0xBF};
  }
  if (lead < 0xF0) {
    const bool overlong = lead == 0xE0;
    const bool surrogate = lead == 0xED;
    return {2, static_cast<uint8_t>(overlong ? 0xA0 : 0x80),
            static_cast<uint8_t>(surrogate ? 0x9F : 0xBF)};
  }
  return {3, static_cast<uint8_t>(lead == 0xF0 ? 0x90 : 0x80),
          static_cast<uint8_t>(lead == 0xF4 ? 0x8F : 0xBF)};
}

bool IsTail(std::string_view bytes, Tail tail) {
  if (tail.length == 0 || bytes.size() < tail.length) {
    return false;
  }
  const auto first = static_cast<uint8_t>(bytes[0]);
  if (first < tail.low || first > tail.high) {
    return false;
  }
  for (size_t i = 1; i < tail.length; ++i) {
    if ((static_cast<uint8_t>(bytes[i]) & 0xC0) != 0x80) {
      return false;
    }
  }
  return true;
}

}  // namespace

size_t ValidateUtf8(std::string_view text) {
  constexpr uint64_t high_bits = 0x8080808080808080;
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word = 0;
    if (text.size() - at >= sizeof(word)) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & high_bits) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const auto lead = static_cast<uint8_t>(text[at]);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    const Tail tail = TailOf(lead);
    if (!IsTail(text.substr(at + 1), tail)) {
      return at;
    }
    at += 1 + tail.length;
  }
  return std::string_view::npos;
}

}  // namespace winnow
