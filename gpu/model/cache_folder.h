#pragma once

#include <string>

namespace winnow {

// The user's folder for what can be made again (digests, fetched models):
// ${WINNOW_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/winnow}, or nothing if
// none of these is set.
std::string CacheFolder();

}  // namespace winnow
