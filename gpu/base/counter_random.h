#pragma once

#include <cstdint>

namespace winnow {

// Random numbers as a function of (seed, counter): the same on every machine,
// in any order, in any process.  SplitMix64's output function (Steele, Lea and
// Flood 2014) over its state, applied twice.

inline uint64_t SplitMix64(uint64_t state) {
  state += 0x9E3779B97F4A7C15;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
  return state ^ (state >> 31);
}

inline uint64_t RandomAt(uint64_t seed, uint64_t counter) {
  return SplitMix64(SplitMix64(seed) ^ counter);
}

// In [0, 1).
inline double UniformAt(uint64_t seed, uint64_t counter) {
  return static_cast<double>(RandomAt(seed, counter) >> 11) * 0x1.0p-53;
}

}  // namespace winnow
