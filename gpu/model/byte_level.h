#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace winnow {

// GPT-2's spelling of bytes by printable characters: the 188 printable bytes
// of Latin-1 stand for themselves, the other 68 for U+0100 to U+0143 in order.
// Vocabularies and merges of byte-level BPE are written in it.

// The bytes that `spelling` stands for; nothing if a character of it is not
// of the alphabet or it is not UTF-8.
std::optional<std::string> BytesOfSpelling(std::string_view spelling);

// The spelling of any bytes.
std::string SpellBytes(std::string_view bytes);

}  // namespace winnow
