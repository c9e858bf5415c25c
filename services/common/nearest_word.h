#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/base/edit_distance.h"

namespace winnow {

// The one of `known` that was most likely meant by `word`, at most a third of
// its letters away; empty if none is that near.  The caller bounds `word`.
inline std::string NearestWord(std::string_view word,
                               const std::vector<std::string>& known) {
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  std::string nearest;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace winnow
