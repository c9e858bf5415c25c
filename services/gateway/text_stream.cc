#include "services/gateway/text_stream.h"

#include <algorithm>

#include "gpu/base/utf8.h"

namespace winnow {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";
constexpr size_t kMaxCharacter = 4;  // bytes

// Whether further bytes can make a character of `start`, which is no character
// and holds none.
bool CanContinue(std::string_view start) {
  for (size_t length = start.size() + 1; length <= kMaxCharacter; ++length) {
    // Every lead byte allows one of these two after it.
    for (const char next : {'\x80', '\xA0'}) {
      std::string character(start);
      character += next;
      character.resize(length, '\x80');
      if (ValidateUtf8(character) == std::string_view::npos) {
        return true;
      }
    }
  }
  return false;
}

// Length of the longest start of `bytes` that a character could begin with; 1
// if there is none.  `bytes` does not begin with a character.
size_t MaximalSubpart(std::string_view bytes) {
  size_t length = 1;
  while (length < std::min(bytes.size(), kMaxCharacter - 1) &&
         CanContinue(bytes.substr(0, length + 1))) {
    ++length;
  }
  return length;
}

}  // namespace

std::string TextStream::Push(std::string_view bytes) {
  if (stopped_) {
    return {};
  }
  bytes_.append(bytes);
  return Match(TakeCharacters(/*at_end=*/false));
}

std::string TextStream::Finish() {
  if (stopped_) {
    return {};
  }
  std::string text = Match(TakeCharacters(/*at_end=*/true));
  text += held_;
  held_.clear();
  return text;
}

// Moves whole characters out of bytes_.
std::string TextStream::TakeCharacters(bool at_end) {
  std::string text;
  std::string_view rest = bytes_;
  while (!rest.empty()) {
    const size_t valid = std::min(ValidateUtf8(rest), rest.size());
    text += rest.substr(0, valid);
    rest.remove_prefix(valid);
    if (rest.empty()) {
      break;
    }
    const size_t broken = MaximalSubpart(rest);
    if (broken == rest.size() && !at_end && CanContinue(rest)) {
      break;
    }
    text += kReplacement;
    rest.remove_prefix(broken);
  }
  bytes_.erase(0, bytes_.size() - rest.size());
  return text;
}

std::string TextStream::Match(std::string_view text) {
  if (stops_.empty()) {
    return std::string(text);
  }
  for (const char byte : text) {
    held_ += byte;
    if (const size_t found = FoundStop(); found > 0) {
      stopped_ = true;
      held_.resize(held_.size() - found);
      return std::exchange(held_, {});
    }
  }
  std::string passed = held_.substr(0, held_.size() - PossibleStop());
  held_.erase(0, passed.size());
  return passed;
}

// Bytes of the longest stop text that held_ ends with; 0: none.
size_t TextStream::FoundStop() const {
  size_t found = 0;
  for (const std::string& stop : stops_) {
    if (held_.ends_with(stop)) {
      found = std::max(found, stop.size());
    }
  }
  return found;
}

// Bytes of the longest start of a stop text that held_ ends with.
size_t TextStream::PossibleStop() const {
  const std::string_view held = held_;
  size_t possible = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held.size());
         length > possible; --length) {
      if (stop.starts_with(held.substr(held.size() - length))) {
        possible = length;
      }
    }
  }
  return possible;
}

}  // namespace winnow
