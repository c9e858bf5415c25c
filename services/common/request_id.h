#pragma once

#include <string>
#include <string_view>

namespace winnow {

// Metadata by which a caller names its request, and by which the server tells
// the name it uses.
inline constexpr char kRequestIdKey[] = "x-request-id";

// True for 1 to 64 letters, digits, '.', '_' and '-'.
bool IsRequestId(std::string_view text);

// 16 random hexadecimal digits.  Thread-safe.
std::string NewRequestId();

// `text` if it is a valid request id, else a new one.
std::string RequestIdOr(std::string_view text);

}  // namespace winnow
