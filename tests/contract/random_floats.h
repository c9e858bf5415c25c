#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace winnow {

// Floats of a standard normal distribution.
inline std::vector<float> RandomFloats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(random);
  }
  return values;
}

}  // namespace winnow
