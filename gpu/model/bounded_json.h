#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "nlohmann/json.hpp"

namespace winnow {

// Limits of a JSON text from outside.
struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 16;  // of arrays and objects
};

// Parses a JSON text that is not trusted.  Stops at the first value beyond a
// limit.  A key that comes twice in an object is refused: which of the two
// another reader takes is anyone's guess.
//
// InvalidArgument, saying where, with `name` before it.
absl::StatusOr<nlohmann::json> ParseBoundedJson(std::span<const std::byte> text,
                                                absl::string_view name,
                                                const JsonLimits& limits = {});

// Member `key` of `object`, or null if `object` is no object, has no such
// member, or its value is null.
const nlohmann::json* FindMember(const nlohmann::json& object,
                                 absl::string_view key);

// Member `key` where it is a string, else null.
const std::string* FindString(const nlohmann::json& object,
                              absl::string_view key);

// Whether member `key` is there and true.
bool IsTrue(const nlohmann::json& object, absl::string_view key);

}  // namespace winnow
