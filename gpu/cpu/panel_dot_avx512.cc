// Dot products of weights in panels and integer inputs with AVX512-VNNI.
//
// A lane is a row: four bytes of each of sixteen rows meet the same four
// integers of the input, broadcast, and after eight such steps a lane holds the
// product of its row's block with a plane of the input.  Then, with one scale a
// row and one a block of the input,
//
//   row . input = sum over blocks of
//       scale * input scale * (bytes - offset) . integers + minimum * input sum
//
// where the offset's share of the integers is what the sum starts from.

#include <algorithm>
#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/panel_dot.h"
#include "gpu/cpu/weight_panels.h"
#include "hwy/base.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 intrinsics start from undefined registers (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

HWY_PUSH_ATTRIBUTES(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace winnow {
namespace {

__m512 LoadHalves(const std::byte* halves) {
  return _mm512_cvtph_ps(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

// How far ahead of its use memory is asked for.
constexpr size_t kPrefetchBytes = 3072;

void Prefetch(const std::byte* address, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(address + i), _MM_HINT_T0);
  }
}

__m512i BroadcastFour(const int8_t* values) {
  int four;
  std::memcpy(&four, values, sizeof(four));
  return _mm512_set1_epi32(four);
}

// Values 4 * quarter + i and 16 + 4 * quarter + i of all rows.
struct Quants {
  __m512i low;
  __m512i high;
};

template <PanelFormat kFormat>
Quants LoadQuants(const std::byte* block, int quarter) {
  const std::byte* quants = block + kFormat.QuantsAt();
  if constexpr (kFormat.bits == 8) {
    return {.low = _mm512_loadu_si512(quants + 64 * quarter),
            .high = _mm512_loadu_si512(quants + 64 * (quarter + 4))};
  } else {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i packed = _mm512_loadu_si512(quants + 64 * quarter);
    Quants values = {
        .low = _mm512_and_si512(packed, mask),
        .high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask)};
    if constexpr (kFormat.bits == 5) {
      const __m512i sixteen = _mm512_set1_epi8(16);
      uint64_t fifth[2];
      std::memcpy(fifth, block + kFormat.HighAt() + 16 * quarter,
                  sizeof(fifth));
      values.low =
          _mm512_mask_add_epi8(values.low, fifth[0], values.low, sixteen);
      values.high =
          _mm512_mask_add_epi8(values.high, fifth[1], values.high, sixteen);
    }
    return values;
  }
}

// Products of a panel with kTokens tokens, whose blocks are `stride` apart.
template <PanelFormat kFormat, int kTokens>
struct PanelSums {
  __m512 sums[kTokens];

  void Add(const std::byte* block, const Int8Block* input, int64_t stride) {
    __m512i coarse[kTokens];
    __m512i fine[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      coarse[t] = _mm512_setzero_si512();
      fine[t] =
          _mm512_set1_epi32(-kFormat.offset * input[t * stride].integer_sum);
    }
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; ++quarter) {
      const Quants quants = LoadQuants<kFormat>(block, quarter);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const Int8Block& in = input[t * stride];
        coarse[t] = AddProducts(coarse[t], quants, in.coarse + 4 * quarter);
        fine[t] = AddProducts(fine[t], quants, in.fine + 4 * quarter);
      }
    }
    const __m512 scales = LoadHalves(block);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const Int8Block& in = input[t * stride];
      const __m512 products = _mm512_cvtepi32_ps(
          _mm512_add_epi32(_mm512_slli_epi32(coarse[t], 7), fine[t]));
      sums[t] = _mm512_fmadd_ps(
          _mm512_mul_ps(products, _mm512_set1_ps(in.scale)), scales, sums[t]);
      if constexpr (kFormat.minimum) {
        sums[t] = _mm512_fmadd_ps(LoadHalves(block + kFormat.MinimumAt()),
                                  _mm512_set1_ps(in.sum), sums[t]);
      }
    }
  }

  static __m512i AddProducts(__m512i sum, const Quants& quants,
                             const int8_t* input) {
    sum = _mm512_dpbusd_epi32(sum, quants.low, BroadcastFour(input));
    return _mm512_dpbusd_epi32(sum, quants.high, BroadcastFour(input + 16));
  }
};

// Writes the products of the rows from `row`, at most kPanelRows.
void Store(const Int8DotArgs& args, int64_t row, int64_t token, __m512 sums) {
  const int64_t rows = std::min<int64_t>(kPanelRows, args.last_row - row);
  const auto present = static_cast<__mmask16>((1u << rows) - 1);
  float* output = args.output + token * args.weight.rows + row;
  if (args.bias != nullptr) {
    sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(present, args.bias + row));
  }
  if (args.accumulate) {
    sums = _mm512_add_ps(_mm512_maskz_loadu_ps(present, output), sums);
  }
  _mm512_mask_storeu_ps(output, present, sums);
}

// A panel against tokens [token, token + kTokens).
template <PanelFormat kFormat, int kTokens>
void DotPanel(const Int8DotArgs& args, int64_t row, int token) {
  const int64_t blocks = args.weight.cols / kPanelBlockValues;
  const Int8Block* input = args.input + token * blocks;
  const std::byte* block = args.weight.Panel(row / kPanelRows);
  PanelSums<kFormat, kTokens> panel;
  std::fill_n(panel.sums, kTokens, _mm512_setzero_ps());
  for (int64_t index = 0; index < blocks; ++index) {
    Prefetch(block + kPrefetchBytes, kFormat.Bytes());
    panel.Add(block, input + index, blocks);
    block += kFormat.Bytes();
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    Store(args, row, token + t, panel.sums[t]);
  }
}

// A panel stays in the cache while groups of tokens pass over it.
template <PanelFormat kFormat>
void DotRows(const Int8DotArgs& args) {
  for (int64_t row = args.first_row; row < args.last_row; row += kPanelRows) {
    int token = 0;
    for (; token + 8 <= args.num_tokens; token += 8) {
      DotPanel<kFormat, 8>(args, row, token);
    }
    if (token + 4 <= args.num_tokens) {
      DotPanel<kFormat, 4>(args, row, token);
      token += 4;
    }
    if (token + 2 <= args.num_tokens) {
      DotPanel<kFormat, 2>(args, row, token);
      token += 2;
    }
    if (token < args.num_tokens) {
      DotPanel<kFormat, 1>(args, row, token);
    }
  }
}

}  // namespace

PanelDot SelectPanelDot(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
      return DotRows<kPanelQ40>;
    case WeightType::kQ4_1:
      return DotRows<kPanelQ41>;
    case WeightType::kQ5_0:
      return DotRows<kPanelQ50>;
    case WeightType::kQ5_1:
      return DotRows<kPanelQ51>;
    case WeightType::kQ8_0:
      return DotRows<kPanelQ80>;
    default:
      return nullptr;
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
