#pragma once

#include <cstddef>
#include <string_view>

namespace winnow {

// The position of the first byte of the first ill-formed sequence of `text`,
// or std::string_view::npos if all of it is UTF-8.
//
// Strict, as Unicode's table 3-7 has it: no overlong forms, no surrogates,
// nothing above U+10FFFF, no sequence that the end cuts.
size_t ValidateUtf8(std::string_view text);

}  // namespace winnow
