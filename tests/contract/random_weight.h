#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gpu/weight.h"

namespace winnow {

// A weight matrix of random blocks: every bit of the quantised values is
// random, the 16-bit scales and the floats are of ordinary size.
class RandomWeight {
 public:
  // The matrix starts `misalignment` bytes after a 16-byte boundary and ends
  // where the memory ends, for a sanitizer to see.
  RandomWeight(WeightType type, int64_t rows, int64_t cols, size_t misalignment,
               unsigned seed) {
    view_ = {.type = type, .data = nullptr, .rows = rows, .cols = cols};
    bytes_.resize(misalignment + view_.Bytes());
    view_.data = bytes_.data() + misalignment;
    std::mt19937 random(seed);
    for (std::byte& byte : bytes_) {
      byte = static_cast<std::byte>(random());
    }
    const WeightBlock& block = GetWeightBlock(type);
    for (size_t at = misalignment; at < bytes_.size(); at += block.bytes) {
      FixScales(type, bytes_.data() + at, random);
    }
  }

  RandomWeight(const RandomWeight&) = delete;
  RandomWeight& operator=(const RandomWeight&) = delete;

  const WeightView& view() const { return view_; }

 private:
  // Random mantissa and sign, exponent for about [1/64, 1/16).
  static void WriteHalf(std::byte* at, std::mt19937& random) {
    const auto bits = static_cast<uint32_t>(random());
    const auto half = static_cast<uint16_t>((bits & 0x83ffu) |
                                            (9u + (bits >> 20 & 1u)) << 10);
    std::memcpy(at, &half, sizeof(half));
  }
  static void FixScales(WeightType type, std::byte* block,
                        std::mt19937& random) {
    switch (type) {
      case WeightType::kF32: {
        const float value = std::normal_distribution<float>(0, 0.1f)(random);
        std::memcpy(block, &value, sizeof(value));
        break;
      }
      case WeightType::kBF16: {
        const float value = std::normal_distribution<float>(0, 0.1f)(random);
        std::memcpy(block, reinterpret_cast<const std::byte*>(&value) + 2, 2);
        break;
      }
      case WeightType::kF16:
      case WeightType::kQ4_0:
      case WeightType::kQ5_0:
      case WeightType::kQ8_0:
        WriteHalf(block, random);
        break;
      case WeightType::kQ4_1:
      case WeightType::kQ5_1:
      case WeightType::kQ4_K:
      case WeightType::kQ5_K:
        WriteHalf(block, random);
        WriteHalf(block + 2, random);
        break;
      case WeightType::kQ6_K:
        WriteHalf(block + 208, random);
        break;
    }
  }

  std::vector<std::byte> bytes_;
  WeightView view_;
};

}  // namespace winnow
