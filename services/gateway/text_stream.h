#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace winnow {

// Limits on the stop texts of a request.
inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 256;

// Turns the bytes of tokens into pieces of text.
//
// - A piece never cuts a character: the start of one waits for its end.  Every
//   maximal subpart of an ill-formed sequence becomes one U+FFFD, as Unicode
//   (3.9) and nlohmann-json have it.
// - The text ends before the first stop text: the one that is complete first,
//   and of those the longest.  What may be the start of one waits too, but
//   nothing else.
//
// How the bytes are cut into tokens changes nothing in the joined text.
// Memory: kMaxStopBytes and the piece itself.  Not thread-safe.
class TextStream {
 public:
  // At most kMaxStops texts of 1 to kMaxStopBytes bytes of UTF-8 each.
  explicit TextStream(std::vector<std::string> stops)
      : stops_(std::move(stops)) {}

  // The text that is complete with `bytes`; nothing after a stop text.
  std::string Push(std::string_view bytes);
  // What was held back and belongs to the text after all.  Once, at the end.
  std::string Finish();

  // A stop text was found: nothing follows.
  bool stopped() const { return stopped_; }

 private:
  std::string TakeCharacters(bool at_end);
  std::string Match(std::string_view text);
  size_t FoundStop() const;
  size_t PossibleStop() const;

  const std::vector<std::string> stops_;
  std::string bytes_;  // the start of a character
  std::string held_;   // whole characters, perhaps the start of a stop text
  bool stopped_ = false;
};

}  // namespace winnow
