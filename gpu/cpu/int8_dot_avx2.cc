// Dot products of quantised weight rows and integer inputs with AVX2.
//
// A step takes one block of 32 weights as signed bytes (Q4_1, Q5_1: not
// negative).  vpmaddubsw multiplies unsigned by signed bytes, so the weight's
// sign moves to the input; pairs add up to at most 2 * 128 * 127 < 2^15.
// AVX-VNNI is left out: machines that have it without AVX-512 still read
// memory slower than this computes.

#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/int8_dot.h"
#include "hwy/base.h"

HWY_PUSH_ATTRIBUTES("avx2,fma,f16c")
namespace winnow {
namespace {

struct WeightStep {
  __m256i bytes;
  float scale;
  float minimum;
};

__m128i Load16(const void* bytes) {
  return _mm_loadu_si128(static_cast<const __m128i*>(bytes));
}

float LoadHalf(const std::byte* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof(half));
  return _cvtsh_ss(half);
}

__m256i UnpackNibbles(const std::byte* nibbles) {
  const __m128i packed = Load16(nibbles);
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// 16 for every value whose bit is set, else 0.
__m256i HighBits(const std::byte* bits) {
  int32_t word;
  std::memcpy(&word, bits, sizeof(word));
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(word),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                         0x0303030303030303));
  const __m256i bit =
      _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

struct Q4_0 {  // scale:f16 nibbles:u8[16]
  static constexpr size_t kBytes = 18;
  static WeightStep Load(const std::byte* block) {
    return {_mm256_sub_epi8(UnpackNibbles(block + 2), _mm256_set1_epi8(8)),
            LoadHalf(block), 0};
  }
};

struct Q4_1 {  // scale:f16 minimum:f16 nibbles:u8[16]
  static constexpr size_t kBytes = 20;
  static WeightStep Load(const std::byte* block) {
    return {UnpackNibbles(block + 4), LoadHalf(block), LoadHalf(block + 2)};
  }
};

struct Q5_0 {  // scale:f16 high bits:u32 nibbles:u8[16]
  static constexpr size_t kBytes = 22;
  static WeightStep Load(const std::byte* block) {
    const __m256i bytes =
        _mm256_or_si256(UnpackNibbles(block + 6), HighBits(block + 2));
    return {_mm256_sub_epi8(bytes, _mm256_set1_epi8(16)), LoadHalf(block), 0};
  }
};

struct Q5_1 {  // scale:f16 minimum:f16 high bits:u32 nibbles:u8[16]
  static constexpr size_t kBytes = 24;
  static WeightStep Load(const std::byte* block) {
    return {_mm256_or_si256(UnpackNibbles(block + 8), HighBits(block + 4)),
            LoadHalf(block), LoadHalf(block + 2)};
  }
};

struct Q8_0 {  // scale:f16 values:i8[32]
  static constexpr size_t kBytes = 34;
  static WeightStep Load(const std::byte* block) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 2)),
            LoadHalf(block), 0};
  }
};

// Sums of one row over kTokens tokens.
template <int kTokens>
struct RowSums {
  __m256 products[kTokens];
  float minimums[kTokens];

  RowSums() {
    for (int token = 0; token < kTokens; ++token) {
      products[token] = _mm256_setzero_ps();
      minimums[token] = 0;
    }
  }

  // Blocks of one token's input are `stride` after those of the one before.
  void Add(const WeightStep& step, const Int8Block* input, int64_t stride) {
    const __m256i magnitude = _mm256_abs_epi8(step.bytes);
    for (int token = 0; token < kTokens; ++token, input += stride) {
      const __m256i coarse = Dot(magnitude, step.bytes, input->coarse);
      const __m256i fine = Dot(magnitude, step.bytes, input->fine);
      const __m256i dot = _mm256_add_epi32(_mm256_slli_epi32(coarse, 7), fine);
      products[token] = _mm256_fmadd_ps(
          _mm256_cvtepi32_ps(dot), _mm256_set1_ps(step.scale * input->scale),
          products[token]);
      minimums[token] += step.minimum * input->sum;
    }
  }

  // Eight partial sums of weight times input.
  static __m256i Dot(__m256i magnitude, __m256i signs, const int8_t* input) {
    const __m256i integers =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(input));
    const __m256i pairs =
        _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(integers, signs));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }

  float Total(int token) const {
    const __m256 lanes = products[token];
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes),
                            _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
    return _mm_cvtss_f32(sum) + minimums[token];
  }
};

// All rows against tokens [first_token, first_token + kTokens).
template <typename Format, int kTokens>
void DotTokens(const Int8DotArgs& args, int first_token) {
  const int64_t blocks = args.weight.cols / kInt8BlockValues;
  const int64_t rows = args.weight.rows;
  const Int8Block* input = args.input + first_token * blocks;
  const std::byte* weights =
      args.weight.data +
      static_cast<size_t>(args.first_row * blocks) * Format::kBytes;
  for (int64_t row = args.first_row; row < args.last_row; ++row) {
    RowSums<kTokens> sums;
    for (int64_t block = 0; block < blocks; ++block) {
      sums.Add(Format::Load(weights), input + block, blocks);
      weights += Format::kBytes;
    }
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

Int8Dot SelectInt8Dot(WeightType type) {
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
