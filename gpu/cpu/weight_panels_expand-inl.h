// Transposes panels for a GEMM, a row to a lane.  Included once for each
// instruction set, between HWY_PUSH_ATTRIBUTES and HWY_POP_ATTRIBUTES, where
// Store(__m512, Output*) writes sixteen values.

#ifndef WINNOW_GPU_CPU_WEIGHT_PANELS_EXPAND_INL_H_
#define WINNOW_GPU_CPU_WEIGHT_PANELS_EXPAND_INL_H_

#include <cassert>
#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/weight_panels.h"

namespace winnow {
namespace {  // NOLINT(google-build-namespaces): once for each instruction set

__m512 LoadHalves(const std::byte* halves) {
  return _mm512_cvtph_ps(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

template <PanelFormat kFormat>
__m512 Minimums(const std::byte* block, __m512 scales) {
  if constexpr (kFormat.minimum) {
    return LoadHalves(block + kFormat.MinimumAt());
  } else {
    return _mm512_mul_ps(scales, _mm512_set1_ps(-float{kFormat.offset}));
  }
}

// Value `value` of a block for all rows: byte value % 4 of its quarter.
template <PanelFormat kFormat>
__m512i QuantsOf(const std::byte* block, int value) {
  const std::byte* quants = block + kFormat.QuantsAt();
  const unsigned byte = 8u * static_cast<unsigned>(value % 4);
  if constexpr (kFormat.bits == 8) {
    const __m512i four = _mm512_loadu_si512(quants + 64 * (value / 4));
    return _mm512_and_si512(_mm512_srli_epi32(four, byte),
                            _mm512_set1_epi32(255));
  } else {
    const int quarter = value % 16 / 4;
    const __m512i four = _mm512_loadu_si512(quants + 64 * quarter);
    const unsigned nibble = value >= 16 ? 4 : 0;
    __m512i quant = _mm512_and_si512(_mm512_srli_epi32(four, byte + nibble),
                                     _mm512_set1_epi32(15));
    if constexpr (kFormat.bits == 5) {
      uint64_t fifth;
      std::memcpy(&fifth,
                  block + kFormat.HighAt() + 16 * quarter + 8 * (value / 16),
                  sizeof(fifth));
      const __m512i bits = _mm512_maskz_set1_epi8(fifth, 16);
      quant = _mm512_add_epi32(quant,
                               _mm512_and_si512(_mm512_srli_epi32(bits, byte),
                                                _mm512_set1_epi32(16)));
    }
    return quant;
  }
}

template <PanelFormat kFormat, typename Output>
void ExpandPanel(const std::byte* block, int64_t blocks, int64_t stride,
                 Output* output) {
  for (int64_t i = 0; i < blocks; ++i) {
    const __m512 scales = LoadHalves(block);
    const __m512 minimums = Minimums<kFormat>(block, scales);
#pragma GCC unroll 32
    for (int value = 0; value < kPanelBlockValues; ++value) {
      const __m512 quants = _mm512_cvtepi32_ps(QuantsOf<kFormat>(block, value));
      Store(_mm512_fmadd_ps(quants, scales, minimums), output);
      output += stride;
    }
    block += kFormat.Bytes();
  }
}

template <PanelFormat kFormat, typename Output>
void ExpandPanels(const WeightView& panels, int64_t first, int64_t last,
                  int64_t stride, Output* output) {
  for (int64_t panel = first; panel < last; ++panel) {
    ExpandPanel<kFormat>(panels.Panel(panel), panels.cols / kPanelBlockValues,
                         stride, output + (panel - first) * kPanelRows);
  }
}

template <typename Output>
void ExpandAnyPanels(const WeightView& panels, int64_t first, int64_t last,
                     int64_t stride, Output* output) {
  assert(panels.layout == WeightLayout::kPanels);
  switch (panels.type) {
    case WeightType::kQ4_0:
      return ExpandPanels<kPanelQ40>(panels, first, last, stride, output);
    case WeightType::kQ4_1:
      return ExpandPanels<kPanelQ41>(panels, first, last, stride, output);
    case WeightType::kQ5_0:
      return ExpandPanels<kPanelQ50>(panels, first, last, stride, output);
    case WeightType::kQ5_1:
      return ExpandPanels<kPanelQ51>(panels, first, last, stride, output);
    default:
      return ExpandPanels<kPanelQ80>(panels, first, last, stride, output);
  }
}

}  // namespace
}  // namespace winnow

#endif  // WINNOW_GPU_CPU_WEIGHT_PANELS_EXPAND_INL_H_
