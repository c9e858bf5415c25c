// What was read from a GGUF file, by key; the reading is in gguf_reader.cc.

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/model/gguf_reader.h"

namespace winnow {
namespace {

// The elements of an array of strings whose bytes ReadArray has checked.
std::vector<absl::string_view> StringsOf(const GgufArray& array) {
  std::vector<absl::string_view> strings;
  strings.reserve(array.count);
  const std::byte* at = array.bytes.data();
  for (uint64_t i = 0; i < array.count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, at, sizeof(length));
    strings.emplace_back(reinterpret_cast<const char*>(at + 8), length);
    at += 8 + length;
  }
  return strings;
}

// The value of `key` as a T.
template <typename T>
absl::StatusOr<T> ValueAs(const GgufContents& contents, absl::string_view key,
                          absl::string_view kind) {
  const GgufValue* value = contents.Find(key);
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat("GGUF: there is no ", key));
  }
  if (const T* found = std::get_if<T>(value)) {
    return *found;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF: ", key, " is not ", kind));
}

}  // namespace

const GgufValue* GgufContents::Find(absl::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

absl::StatusOr<int64_t> GgufContents::Integer(absl::string_view key,
                                              int64_t minimum,
                                              int64_t maximum) const {
  absl::StatusOr<int64_t> value = ValueAs<int64_t>(*this, key, "an integer");
  if (const GgufValue* found = Find(key); found != nullptr) {
    const uint64_t* wide = std::get_if<uint64_t>(found);
    if (wide != nullptr) {
      value = static_cast<int64_t>(
          std::min(*wide, uint64_t{std::numeric_limits<int64_t>::max()}));
    }
  }
  if (value.ok() && (*value < minimum || *value > maximum)) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", key, " is ", *value, ", not in [", minimum, ", ",
                     maximum, "]"));
  }
  return value;
}

absl::StatusOr<double> GgufContents::Number(absl::string_view key) const {
  return ValueAs<double>(*this, key, "a floating-point number");
}

absl::StatusOr<absl::string_view> GgufContents::String(
    absl::string_view key) const {
  return ValueAs<absl::string_view>(*this, key, "a string");
}

absl::StatusOr<bool> GgufContents::Bool(absl::string_view key) const {
  return ValueAs<bool>(*this, key, "a bool");
}

absl::StatusOr<std::vector<absl::string_view>> GgufContents::Strings(
    absl::string_view key) const {
  WINNOW_ASSIGN_OR_RETURN(const GgufArray array,
                          ValueAs<GgufArray>(*this, key, "an array"));
  if (array.element != GgufType::kString) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", key, " is not an array of strings"));
  }
  return StringsOf(array);
}

absl::StatusOr<std::vector<int32_t>> GgufContents::Integers(
    absl::string_view key) const {
  WINNOW_ASSIGN_OR_RETURN(const GgufArray array,
                          ValueAs<GgufArray>(*this, key, "an array"));
  if (array.element != GgufType::kI32 && array.element != GgufType::kU32) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", key, " is not an array of 32-bit integers"));
  }
  std::vector<int32_t> values(array.count);
  std::ranges::copy(array.bytes,
                    std::as_writable_bytes(std::span(values)).begin());
  return values;
}

}  // namespace winnow
