#include "cache_store/plan/builtin_profiles.h"

#include "absl/strings/str_cat.h"

#include "cache_store/plan/head_profile.h"
#include "gpu/base/status.h"

namespace winnow {

absl::StatusOr<HeadProfile> FindBuiltInProfile(
    const std::array<uint8_t, 32>& model_digest) {
  for (const std::string_view text : BuiltInProfileTexts()) {
    absl::StatusOr<HeadProfile> profile = ParseHeadProfile(text);
    if (!profile.ok()) {
      return absl::InternalError(absl::StrCat("a built-in head profile: ",
                                              profile.status().message()));
    }
    if (profile->model_digest == model_digest) {
      return profile;
    }
  }
  return absl::NotFoundError(
      "no built-in head profile for this model; make one with `winnow profile "
      "--model M --out F` and pass --profile F");
}

}  // namespace winnow
