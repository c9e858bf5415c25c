#include "gpu/model/cache_folder.h"

#include <cstdlib>

namespace winnow {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string CacheFolder() {
  if (std::string own = Environment("WINNOW_CACHE_DIR"); !own.empty()) {
    return own;
  }
  if (const std::string caches = Environment("XDG_CACHE_HOME");
      !caches.empty()) {
    return caches + "/winnow";
  }
  const std::string home = Environment("HOME");
  return home.empty() ? "" : home + "/.cache/winnow";
}

}  // namespace winnow
