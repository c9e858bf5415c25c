#pragma once

#include <string_view>
#include <vector>

namespace winnow {

// The files of cache_store/plan/profiles, compiled in; see
// embed_profiles.cmake.
std::vector<std::string_view> BuiltInProfileTexts();

}  // namespace winnow
