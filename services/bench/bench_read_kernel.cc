#include "services/bench/bench_read_kernel.h"

#include <immintrin.h>

#include "hwy/base.h"

// Several sums hide the latency of the additions; the loads are what counts.

HWY_PUSH_ATTRIBUTES("avx2")
namespace winnow {
namespace {

uint64_t SumAvx2(std::span<const std::byte> bytes) {
  constexpr size_t kSums = 8;
  __m256i sums[kSums] = {};
  const auto* lanes = reinterpret_cast<const __m256i*>(bytes.data());
  const size_t count = bytes.size() / sizeof(__m256i);
  for (size_t i = 0; i < count; i += kSums) {
    for (size_t j = 0; j < kSums; ++j) {
      sums[j] = _mm256_add_epi64(sums[j], _mm256_load_si256(lanes + i + j));
    }
  }
  uint64_t total = 0;
  for (const __m256i& sum : sums) {
    alignas(32) uint64_t words[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), sum);
    total += words[0] + words[1] + words[2] + words[3];
  }
  return total;
}

}  // namespace
}  // namespace winnow
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES("avx512f")
namespace winnow {
namespace {

uint64_t SumAvx512(std::span<const std::byte> bytes) {
  constexpr size_t kSums = 8;
  __m512i sums[kSums] = {};
  const std::byte* const data = bytes.data();
  constexpr size_t kLane = sizeof(__m512i);
  for (size_t i = 0; i < bytes.size(); i += kSums * kLane) {
    for (size_t j = 0; j < kSums; ++j) {
      sums[j] =
          _mm512_add_epi64(sums[j], _mm512_load_si512(data + i + j * kLane));
    }
  }
  uint64_t total = 0;
  for (const __m512i& sum : sums) {
    alignas(64) uint64_t words[8];
    _mm512_store_si512(words, sum);
    for (const uint64_t word : words) {
      total += word;
    }
  }
  return total;
}

}  // namespace
}  // namespace winnow
HWY_POP_ATTRIBUTES

namespace winnow {

uint64_t SumWords(std::span<const std::byte> bytes, CpuLevel level) {
  return level >= CpuLevel::kAvx512 ? SumAvx512(bytes) : SumAvx2(bytes);
}

}  // namespace winnow
