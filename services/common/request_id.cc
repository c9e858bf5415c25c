#include "services/common/request_id.h"

#include <algorithm>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

constexpr size_t kMaxRequestId = 64;

}  // namespace

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxRequestId &&
         std::ranges::all_of(text, [](char byte) {
           return absl::ascii_isalnum(static_cast<unsigned char>(byte)) ||
                  byte == '.' || byte == '_' || byte == '-';
         });
}

std::string NewRequestId() {
  // A name for logs, not a secret: 64 bits make a clash unlikely.
  thread_local std::mt19937_64 random([] {
    std::random_device device;
    std::seed_seq seed = {device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }());
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16));
}

std::string RequestIdOr(std::string_view text) {
  return IsRequestId(text) ? std::string(text) : NewRequestId();
}

}  // namespace winnow
