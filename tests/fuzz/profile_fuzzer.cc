// Head profiles from outside: nothing crashes, and one that is accepted is
// written as a file that reads back to the same profile.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cache_store/plan/head_profile.h"
#include "cache_store/plan/plan.h"

namespace {

// A digest that the file cannot know is put right, so that what lies behind
// the check is reached too.
std::string WithRightDigest(std::string_view text, const absl::Status& status) {
  constexpr std::string_view kBefore = "digest must be ";
  const std::string message(status.message());
  const size_t found = message.find(kBefore);
  const size_t digest = text.find("\"digest\":\"");
  if (found == std::string::npos || digest == std::string_view::npos) {
    return "";
  }
  constexpr size_t kDigits = 64;
  std::string file(text);
  file.replace(digest + 10, std::min(kDigits, file.size() - digest - 10),
               message.substr(found + kBefore.size(), kDigits));
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  auto profile = winnow::ParseHeadProfile(text);
  if (!profile.ok()) {
    profile = winnow::ParseHeadProfile(WithRightDigest(text, profile.status()));
  }
  if (!profile.ok()) {
    return 0;
  }
  const std::string file = winnow::FormatHeadProfile(*profile);
  const auto again = winnow::ParseHeadProfile(file);
  if (!again.ok() || winnow::FormatHeadProfile(*again) != file) {
    std::abort();
  }
  const winnow::HeadGrid grid = {.num_layers = profile->num_layers,
                                 .num_kv_heads = profile->num_kv_heads};
  const auto policy = winnow::ParsePolicy("razor,echo=off,min_length=0");
  if (!winnow::MakePlan(*policy, &*profile, grid, 4096).ok()) {
    std::abort();
  }
  return 0;
}
