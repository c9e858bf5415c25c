#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace winnow {

// Debian's Abseil has a string_view of its own, which StrCat wants.
inline absl::string_view Absl(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace winnow
