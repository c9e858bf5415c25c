#pragma once

#include <algorithm>
#include <cassert>
#include <vector>

namespace winnow {

// A figure over its repeats.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};

// Of at least one value.  The median of an even number of values is the mean
// of the two in the middle.
inline Spread SpreadOf(std::vector<double> values) {
  assert(!values.empty());
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1
                            ? values[middle]
                            : (values[middle - 1] + values[middle]) / 2;
  return {.median = median, .min = values.front(), .max = values.back()};
}

}  // namespace winnow
