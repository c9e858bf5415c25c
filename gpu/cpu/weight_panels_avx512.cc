#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/int8_input.h"
#include "gpu/cpu/weight_panels.h"
#include "hwy/base.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 intrinsics start from undefined registers (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

HWY_PUSH_ATTRIBUTES("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
namespace winnow {
namespace {

constexpr int kGroup = 4;  // values of a row that lie side by side in a plane

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

// A panel format as a type, for lambdas.
template <PanelFormat kPanelFormat>
struct FormatOf {
  static constexpr PanelFormat kFormat = kPanelFormat;
};

// Calls body with the format of `type`, which has panels.
template <typename Body>
void ForFormat(WeightType type, const Body& body) {
  switch (type) {
    case WeightType::kQ4_0:
      return body(FormatOf<kPanelQ40>());
    case WeightType::kQ4_1:
      return body(FormatOf<kPanelQ41>());
    case WeightType::kQ5_0:
      return body(FormatOf<kPanelQ50>());
    case WeightType::kQ5_1:
      return body(FormatOf<kPanelQ51>());
    default:
      return body(FormatOf<kPanelQ80>());
  }
}

// The larger of the values, without signs, that the smallest and the largest
// quant of the blocks stand for: nothing in them is larger.
template <PanelFormat kFormat>
__m512 LargestValues(const std::byte* block, int64_t blocks) {
  constexpr float kLargestQuant = (1 << kFormat.bits) - 1;
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < blocks; ++i) {
    const __m512 scales = LoadHalves(block);
    const __m512 minimums = Minimums<kFormat>(block, scales);
    const __m512 maximums =
        _mm512_fmadd_ps(_mm512_set1_ps(kLargestQuant), scales, minimums);
    largest = _mm512_max_ps(largest, _mm512_max_ps(_mm512_abs_ps(minimums),
                                                   _mm512_abs_ps(maximums)));
    block += kFormat.Bytes();
  }
  return largest;
}

// Four 16-bit integers a row, as pairs, to two planes of bytes.
void StorePlanes(__m512i first_and_third, __m512i second_and_fourth,
                 int8_t* coarse, int8_t* fine) {
  const __m512i half = _mm512_set1_epi16(64);
  const __m512i coarse13 =
      _mm512_srai_epi16(_mm512_add_epi16(first_and_third, half), 7);
  const __m512i coarse24 =
      _mm512_srai_epi16(_mm512_add_epi16(second_and_fourth, half), 7);
  const __m512i fine13 =
      _mm512_sub_epi16(first_and_third, _mm512_slli_epi16(coarse13, 7));
  const __m512i fine24 =
      _mm512_sub_epi16(second_and_fourth, _mm512_slli_epi16(coarse24, 7));
  constexpr __mmask64 kOddBytes = 0xaaaaaaaaaaaaaaaa;
  _mm512_store_si512(coarse,
                     _mm512_mask_blend_epi8(kOddBytes, coarse13,
                                            _mm512_slli_epi16(coarse24, 8)));
  _mm512_store_si512(
      fine,
      _mm512_mask_blend_epi8(kOddBytes, fine13, _mm512_slli_epi16(fine24, 8)));
}

__m512i PairUp(__m512i low, __m512i high) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
}

template <PanelFormat kFormat>
void QuantizeBlocks(const std::byte* block, int64_t blocks,
                    const PanelPlanes& output) {
  const __m512 largest = LargestValues<kFormat>(block, blocks);
  _mm512_storeu_ps(output.scales,
                   _mm512_mul_ps(largest, _mm512_set1_ps(1.0f / kPlaneLimit)));
  const __m512 inverse = _mm512_maskz_div_ps(
      _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_GT_OQ),
      _mm512_set1_ps(kPlaneLimit), largest);
  int64_t at = 0;
  for (int64_t i = 0; i < blocks; ++i) {
    const __m512 scales = LoadHalves(block);
    const __m512 minimums =
        _mm512_mul_ps(Minimums<kFormat>(block, scales), inverse);
    const __m512 factors = _mm512_mul_ps(scales, inverse);
#pragma GCC unroll 8
    for (int value = 0; value < kPanelBlockValues; value += kGroup) {
      __m512i integers[kGroup];
#pragma GCC unroll 4
      for (int j = 0; j < kGroup; ++j) {
        const __m512 quants =
            _mm512_cvtepi32_ps(QuantsOf<kFormat>(block, value + j));
        integers[j] =
            _mm512_cvtps_epi32(_mm512_fmadd_ps(quants, factors, minimums));
      }
      StorePlanes(PairUp(integers[0], integers[2]),
                  PairUp(integers[1], integers[3]), output.coarse + at,
                  output.fine + at);
      at += kGroup * kPanelRows;
    }
    block += kFormat.Bytes();
  }
}

}  // namespace

void QuantizePanel(const WeightView& panels, int64_t panel, int64_t first_block,
                   int64_t num_blocks, const PanelPlanes& output) {
  assert(panels.layout == WeightLayout::kPanels);
  ForFormat(panels.type, [&](auto format) {
    constexpr PanelFormat kFormat = decltype(format)::kFormat;
    QuantizeBlocks<kFormat>(
        panels.Panel(panel) +
            static_cast<size_t>(first_block) * kFormat.Bytes(),
        num_blocks, output);
  });
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
