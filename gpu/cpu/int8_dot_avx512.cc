// Dot products of quantised weight rows and 8-bit inputs with AVX512-VNNI.
//
// A step takes four blocks of a row: 128 weights as unsigned bytes, the first
// halves of the four blocks in one register and the second halves in another
// (the order of Int8Group), so that each block owns four of the sixteen 32-bit
// lanes of a product:
//
//   weight = scale * byte + minimum            (Q4_0: minimum = -8 * scale)
//   row . input = sum over blocks of
//       scale * input scale * (bytes . integers) + minimum * input sum
//
// Up to four tokens share one unpacking of the weights.  The last step of a
// row may reach into the next rows: such blocks get scale and minimum zero; at
// the end of the matrix the step works on a copy.

#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/int8_dot.h"
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

struct WeightStep {
  __m512i first;    // bytes 0 to 15 of the four blocks
  __m512i second;   // bytes 16 to 31
  __m128 scales;    // of the four blocks
  __m128 minimums;  // likewise
};

__m128i Load16(const std::byte* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// Sixteen bytes at the same offset of each of four blocks.
template <size_t kStride>
__m512i Load4x16(const std::byte* bytes) {
  const __m256i low = _mm256_inserti128_si256(
      _mm256_castsi128_si256(Load16(bytes)), Load16(bytes + kStride), 1);
  const __m256i high = _mm256_inserti128_si256(
      _mm256_castsi128_si256(Load16(bytes + 2 * kStride)),
      Load16(bytes + 3 * kStride), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

uint32_t ReadU32(const std::byte* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
uint64_t ReadLow16(const std::byte* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Four 16-bit floats, one at the start of each block.
template <size_t kStride>
__m128 LoadScales(const std::byte* blocks) {
  const uint64_t halves = ReadLow16(blocks) |
                          ReadLow16(blocks + kStride) << 16 |
                          ReadLow16(blocks + 2 * kStride) << 32 |
                          ReadLow16(blocks + 3 * kStride) << 48;
  return _mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<int64_t>(halves)));
}

// Four pairs of 16-bit floats, scale and minimum.
template <size_t kStride>
void LoadScalesAndMinimums(const std::byte* blocks, WeightStep& step) {
  const __m128i pairs =
      _mm_setr_epi32(static_cast<int>(ReadU32(blocks)),
                     static_cast<int>(ReadU32(blocks + kStride)),
                     static_cast<int>(ReadU32(blocks + 2 * kStride)),
                     static_cast<int>(ReadU32(blocks + 3 * kStride)));
  const __m256 floats = _mm256_cvtph_ps(pairs);
  const __m128 low = _mm256_castps256_ps128(floats);
  const __m128 high = _mm256_extractf128_ps(floats, 1);
  step.scales = _mm_shuffle_ps(low, high, 0x88);
  step.minimums = _mm_shuffle_ps(low, high, 0xdd);
}

void UnpackNibbles(__m512i packed, WeightStep& step) {
  const __m512i mask = _mm512_set1_epi8(15);
  step.first = _mm512_and_si512(packed, mask);
  step.second = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
}

// Bit i of a block's 32 high bits belongs to value i.
template <size_t kStride>
void AddHighBits(const std::byte* bits, WeightStep& step) {
  const uint64_t b0 = ReadU32(bits);
  const uint64_t b1 = ReadU32(bits + kStride);
  const uint64_t b2 = ReadU32(bits + 2 * kStride);
  const uint64_t b3 = ReadU32(bits + 3 * kStride);
  const uint64_t first = (b0 & 0xffff) | (b1 & 0xffff) << 16 |
                         (b2 & 0xffff) << 32 | (b3 & 0xffff) << 48;
  const uint64_t second =
      b0 >> 16 | (b1 >> 16) << 16 | (b2 >> 16) << 32 | (b3 >> 16) << 48;
  const __m512i sixteen = _mm512_set1_epi8(16);
  step.first = _mm512_mask_add_epi8(step.first, first, step.first, sixteen);
  step.second = _mm512_mask_add_epi8(step.second, second, step.second, sixteen);
}

struct Q4_0 {  // scale:f16 nibbles:u8[16]
  static constexpr size_t kBytes = 18;
  static WeightStep Load(const std::byte* blocks) {
    WeightStep step;
    UnpackNibbles(Load4x16<kBytes>(blocks + 2), step);
    step.scales = LoadScales<kBytes>(blocks);
    step.minimums = _mm_mul_ps(step.scales, _mm_set1_ps(-8));
    return step;
  }
};

struct Q4_1 {  // scale:f16 minimum:f16 nibbles:u8[16]
  static constexpr size_t kBytes = 20;
  static WeightStep Load(const std::byte* blocks) {
    // Twenty dwords: every fifth is a head, the rest are nibbles.
    const __m512i low = _mm512_loadu_si512(blocks);        // dwords 0 to 15
    const __m512i high = _mm512_loadu_si512(blocks + 16);  // dwords 4 to 19
    const __m512i nibbles = _mm512_setr_epi32(1, 2, 3, 4, 6, 7, 8, 9, 11, 12,
                                              13, 14, 28, 29, 30, 31);
    WeightStep step;
    UnpackNibbles(_mm512_permutex2var_epi32(low, nibbles, high), step);
    const __m512i heads = _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 5, 10, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        low);
    const __m256 floats = _mm256_cvtph_ps(_mm512_castsi512_si128(heads));
    const __m128 floats_low = _mm256_castps256_ps128(floats);
    const __m128 floats_high = _mm256_extractf128_ps(floats, 1);
    step.scales = _mm_shuffle_ps(floats_low, floats_high, 0x88);
    step.minimums = _mm_shuffle_ps(floats_low, floats_high, 0xdd);
    return step;
  }
};

struct Q5_0 {  // scale:f16 high bits:u32 nibbles:u8[16]
  static constexpr size_t kBytes = 22;
  static WeightStep Load(const std::byte* blocks) {
    WeightStep step;
    UnpackNibbles(Load4x16<kBytes>(blocks + 6), step);
    AddHighBits<kBytes>(blocks + 2, step);
    step.scales = LoadScales<kBytes>(blocks);
    step.minimums = _mm_mul_ps(step.scales, _mm_set1_ps(-16));
    return step;
  }
};

struct Q5_1 {  // scale:f16 minimum:f16 high bits:u32 nibbles:u8[16]
  static constexpr size_t kBytes = 24;
  static WeightStep Load(const std::byte* blocks) {
    WeightStep step;
    UnpackNibbles(Load4x16<kBytes>(blocks + 8), step);
    AddHighBits<kBytes>(blocks + 4, step);
    LoadScalesAndMinimums<kBytes>(blocks, step);
    return step;
  }
};

struct Q8_0 {  // scale:f16 values:i8[32]
  static constexpr size_t kBytes = 34;
  static WeightStep Load(const std::byte* blocks) {
    const __m512i sign = _mm512_set1_epi8(-128);  // to unsigned: plus 128
    WeightStep step;
    step.first = _mm512_xor_si512(Load4x16<kBytes>(blocks + 2), sign);
    step.second = _mm512_xor_si512(Load4x16<kBytes>(blocks + 18), sign);
    step.scales = LoadScales<kBytes>(blocks);
    step.minimums = _mm_mul_ps(step.scales, _mm_set1_ps(-128));
    return step;
  }
};

// One row against kTokens tokens.
template <int kTokens>
struct RowSums {
  __m512 products[kTokens];
  __m128 minimums[kTokens];

  RowSums() {
    for (int token = 0; token < kTokens; ++token) {
      products[token] = _mm512_setzero_ps();
      minimums[token] = _mm_setzero_ps();
    }
  }

  void Add(const WeightStep& step, const Int8Group* input, int64_t stride) {
    const __m512 scales = _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
        _mm512_castps128_ps512(step.scales));
    for (int token = 0; token < kTokens; ++token) {
      const Int8Group& group = input[token * stride];
      __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), step.first,
                                        _mm512_load_si512(group.values));
      dot = _mm512_dpbusd_epi32(dot, step.second,
                                _mm512_load_si512(group.values + 64));
      products[token] = _mm512_fmadd_ps(
          _mm512_cvtepi32_ps(dot),
          _mm512_mul_ps(scales, _mm512_load_ps(group.scales)), products[token]);
      minimums[token] =
          _mm_fmadd_ps(step.minimums, _mm_load_ps(group.sums), minimums[token]);
    }
  }

  float Total(int token) const {
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(products[token]),
                      _mm512_extractf32x8_ps(products[token], 1));
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half),
                            _mm256_extractf128_ps(half, 1));
    sum = _mm_add_ps(sum, minimums[token]);
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
    return _mm_cvtss_f32(sum);
  }
};

// Adds a whole row to `sums`; `near_end` where fewer than four blocks of the
// matrix follow the row.
template <typename Format, int kTokens>
void AddRow(const std::byte* weights, int64_t blocks, bool near_end,
            const Int8Group* input, int64_t stride, RowSums<kTokens>& sums) {
  for (; blocks >= kInt8GroupBlocks; blocks -= kInt8GroupBlocks) {
    sums.Add(Format::Load(weights), input++, stride);
    weights += kInt8GroupBlocks * Format::kBytes;
  }
  if (blocks == 0) {
    return;
  }
  std::byte copy[kInt8GroupBlocks * Format::kBytes];
  if (near_end) {
    std::memset(copy, 0, sizeof(copy));
    std::memcpy(copy, weights, static_cast<size_t>(blocks) * Format::kBytes);
    weights = copy;
  }
  WeightStep step = Format::Load(weights);
  const auto present = static_cast<__mmask8>((1u << blocks) - 1);
  step.scales = _mm_maskz_mov_ps(present, step.scales);
  step.minimums = _mm_maskz_mov_ps(present, step.minimums);
  sums.Add(step, input, stride);
}

// All rows against tokens [first_token, first_token + kTokens).
template <typename Format, int kTokens>
void DotTokens(const Int8DotArgs& args, int first_token) {
  const int64_t blocks = args.weight.cols / kInt8BlockValues;
  const int64_t stride = Int8GroupCount(args.weight.cols);
  const size_t row_bytes = static_cast<size_t>(blocks) * Format::kBytes;
  const int64_t rows = args.weight.rows;
  const Int8Group* input = args.input + first_token * stride;
  const std::byte* weights =
      args.weight.data + static_cast<size_t>(args.first_row) * row_bytes;
  for (int64_t row = args.first_row; row < args.last_row; ++row) {
    RowSums<kTokens> sums;
    const bool near_end = (rows - 1 - row) * blocks < kInt8GroupBlocks;
    AddRow<Format>(weights, blocks, near_end, input, stride, sums);
    weights += row_bytes;
    const float bias = args.bias != nullptr ? args.bias[row] : 0.0f;
    for (int token = 0; token < kTokens; ++token) {
      float* output = args.output + (first_token + token) * rows + row;
      const float result = sums.Total(token) + bias;
      *output = args.accumulate ? *output + result : result;
    }
  }
}

// A piece of rows stays in the cache while groups of tokens pass over it.
template <typename Format>
void DotRows(const Int8DotArgs& args) {
  int token = 0;
  for (; token + 4 <= args.num_tokens; token += 4) {
    DotTokens<Format, 4>(args, token);
  }
  if (token + 2 <= args.num_tokens) {
    DotTokens<Format, 2>(args, token);
    token += 2;
  }
  if (token < args.num_tokens) {
    DotTokens<Format, 1>(args, token);
  }
}

}  // namespace

Int8Dot SelectInt8DotAvx512(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
      return DotRows<Q4_0>;
    case WeightType::kQ4_1:
      return DotRows<Q4_1>;
    case WeightType::kQ5_0:
      return DotRows<Q5_0>;
    case WeightType::kQ5_1:
      return DotRows<Q5_1>;
    case WeightType::kQ8_0:
      return DotRows<Q8_0>;
    default:
      return nullptr;
  }
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
