#include "services/common/units.h"

#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"

namespace winnow {
namespace {

constexpr size_t kMaxText = 64;  // of a number with its unit

// The start of a text from outside, fit for a message.
std::string Quoted(std::string_view text) {
  return absl::StrCat("'", absl::CHexEscape(Absl(text.substr(0, kMaxText))),
                      text.size() > kMaxText ? "..." : "", "'");
}

}  // namespace

absl::StatusOr<uint64_t> ParseByteSize(std::string_view text) {
  static constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"KiB", uint64_t{1} << 10},
      {"MiB", uint64_t{1} << 20},
      {"GiB", uint64_t{1} << 30},
      {"TiB", uint64_t{1} << 40},
      {"kB", 1000},
      {"MB", 1000000},
      {"GB", 1000000000},
      {"TB", 1000000000000},
      {"B", 1}};
  std::string_view digits = text;
  uint64_t unit = 1;
  for (const auto& [suffix, bytes] : kUnits) {
    if (text.ends_with(suffix)) {
      digits.remove_suffix(suffix.size());
      unit = bytes;
      break;
    }
  }
  uint64_t count = 0;
  const bool is_number =
      !digits.empty() && digits.size() <= kMaxText &&
      digits.find_first_not_of("0123456789") == std::string_view::npos &&
      absl::SimpleAtoi(Absl(digits), &count);
  if (!is_number || count > std::numeric_limits<uint64_t>::max() / unit) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text),
                     " is not a size; write a whole number with a unit, such "
                     "as 512MiB or 4GiB"));
  }
  return count * unit;
}

std::string FormatByteSize(uint64_t bytes) {
  static constexpr std::pair<std::string_view, int> kUnits[] = {
      {"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}};
  for (const auto& [unit, shift] : kUnits) {
    if (bytes != 0 && bytes % (uint64_t{1} << shift) == 0) {
      return absl::StrCat(bytes >> shift, Absl(unit));
    }
  }
  return absl::StrCat(bytes, "B");
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration duration;
  // Abseil also takes "0", "+5s", "-5s" and "inf".
  const bool is_plain = !text.empty() && text.size() <= kMaxText &&
                        (absl::ascii_isdigit(text.front()) != 0) &&
                        (absl::ascii_isalpha(text.back()) != 0);
  if (!is_plain || !absl::ParseDuration(Absl(text), &duration) ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text),
                     " is not a duration; write a number with a unit (ms, s, "
                     "m, h), such as 30s or 1h30m"));
  }
  return duration;
}

}  // namespace winnow
