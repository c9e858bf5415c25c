#include "gpu/model/text_digest.h"

#include <array>

namespace winnow {

void TextDigest::AddText(std::string_view text) {
  AddNumber(text.size());
  hash_.Add(text);
}

void TextDigest::AddNumber(uint64_t number) {
  std::array<char, 8> bytes;
  for (char& byte : bytes) {
    byte = static_cast<char>(number & 0xFF);
    number >>= 8;
  }
  hash_.Add(std::string_view(bytes.data(), bytes.size()));
}

}  // namespace winnow
