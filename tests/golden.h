#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

#include <nlohmann/json.hpp>

namespace winnow {

// A file under tests/golden, whole.  Empty if it is not there.
inline std::string ReadGolden(const std::string& name) {
  std::ifstream file(std::string(WINNOW_GOLDEN_DIR) + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json ReadGoldenJson(const std::string& name) {
  return nlohmann::json::parse(ReadGolden(name), nullptr, false);
}

// Lower-case hexadecimal of anything with contiguous bytes.
template <typename Bytes>
std::string Hex(const Bytes& bytes) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(std::data(bytes)), std::size(bytes)));
}

}  // namespace winnow
