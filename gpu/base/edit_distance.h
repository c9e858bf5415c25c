#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

namespace winnow {

// Insertions, deletions and replacements that turn `a` into `b` (Levenshtein
// 1966), for "did you mean".  Time and memory grow as the product and the
// length: callers bound both words.
inline size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace winnow
