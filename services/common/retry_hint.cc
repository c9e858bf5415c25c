#include "services/common/retry_hint.h"

#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

constexpr char kPayloadUrl[] = "winnow.v1/retry-after";
constexpr absl::Duration kLongestHint = absl::Hours(1);
constexpr size_t kMaxDigits = 8;  // of an hour in milliseconds, and more

}  // namespace

void SetRetryHint(absl::Status& status, absl::Duration after) {
  const absl::Duration rounded = absl::Ceil(after, absl::Milliseconds(1));
  const std::string text = absl::StrCat(absl::ToInt64Milliseconds(rounded));
  // Not Cord(std::string): Clang and the prebuilt library mangle that template
  // differently.
  status.SetPayload(kPayloadUrl, absl::Cord(absl::string_view(text)));
}

std::optional<absl::Duration> RetryHint(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  uint32_t milliseconds = 0;
  if (!payload.has_value() || payload->size() > kMaxDigits ||
      !absl::SimpleAtoi(std::string(*payload), &milliseconds) ||
      absl::Milliseconds(milliseconds) > kLongestHint) {
    return std::nullopt;
  }
  return absl::Milliseconds(milliseconds);
}

}  // namespace winnow
