#include "gpu/cpu/elementwise.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/cpu/elementwise.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// foreach_target.h comes first.
#include "gpu/base/status.h"
#include "gpu/check_arguments.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace winnow {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void RmsNormRow(const RmsNormArgs& args, int64_t row) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t cols = args.cols;
  const float* input = args.input + row * cols;
  float* output = args.output + row * cols;

  auto squares = hn::Zero(d);
  int64_t col = 0;
  for (; col + lanes <= cols; col += lanes) {
    const auto x = hn::LoadU(d, input + col);
    squares = hn::MulAdd(x, x, squares);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (; col < cols; ++col) {
    sum += input[col] * input[col];
  }
  const float inverse =
      1.0f / std::sqrt(sum / static_cast<float>(cols) + args.epsilon);
  const auto factor = hn::Set(d, inverse);
  for (col = 0; col + lanes <= cols; col += lanes) {
    const auto x = hn::LoadU(d, input + col);
    const auto scale = hn::LoadU(d, args.scale + col);
    hn::StoreU(hn::Mul(hn::Mul(x, factor), scale), d, output + col);
  }
  for (; col < cols; ++col) {
    output[col] = input[col] * inverse * args.scale[col];
  }
}

template <class D, class V>
V SiluTimes(D d, V gate, V up) {
  // exp(88) is finite; beyond, silu is 0 or gate to the last bit.
  const V exponent = hn::Min(hn::Neg(gate), hn::Set(d, 88.0f));
  const V denominator = hn::Add(hn::Set(d, 1.0f), hn::Exp(d, exponent));
  return hn::Mul(hn::Div(gate, denominator), up);
}

void SiluMulRange(const SiluMulArgs& args, int64_t begin, int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    hn::StoreU(
        SiluTimes(d, hn::LoadU(d, args.gate + i), hn::LoadU(d, args.up + i)), d,
        args.output + i);
  }
  const hn::CappedTag<float, 1> one;
  for (; i < end; ++i) {
    hn::StoreU(SiluTimes(one, hn::LoadU(one, args.gate + i),
                         hn::LoadU(one, args.up + i)),
               one, args.output + i);
  }
}

// Rotates (first[i], second[i]) for i in [0, half).
void RotateHalves(const float* cosines, const float* sines, int64_t half,
                  float* first) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  float* second = first + half;
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto a = hn::LoadU(d, first + i);
    const auto b = hn::LoadU(d, second + i);
    const auto cosine = hn::LoadU(d, cosines + i);
    const auto sine = hn::LoadU(d, sines + i);
    hn::StoreU(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), d, first + i);
    hn::StoreU(hn::MulAdd(a, sine, hn::Mul(b, cosine)), d, second + i);
  }
  for (; i < half; ++i) {
    const float a = first[i];
    const float b = second[i];
    first[i] = a * cosines[i] - b * sines[i];
    second[i] = b * cosines[i] + a * sines[i];
  }
}

// Rotates (pairs[2i], pairs[2i + 1]) for i in [0, half).
void RotateInterleaved(const float* cosines, const float* sines, int64_t half,
                       float* pairs) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    hn::Vec<decltype(d)> a;
    hn::Vec<decltype(d)> b;
    hn::LoadInterleaved2(d, pairs + 2 * i, a, b);
    const auto cosine = hn::LoadU(d, cosines + i);
    const auto sine = hn::LoadU(d, sines + i);
    hn::StoreInterleaved2(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)),
                          hn::MulAdd(a, sine, hn::Mul(b, cosine)), d,
                          pairs + 2 * i);
  }
  for (; i < half; ++i) {
    const float a = pairs[2 * i];
    const float b = pairs[2 * i + 1];
    pairs[2 * i] = a * cosines[i] - b * sines[i];
    pairs[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace winnow {

HWY_EXPORT(RmsNormRow);
HWY_EXPORT(SiluMulRange);
HWY_EXPORT(RotateHalves);
HWY_EXPORT(RotateInterleaved);

namespace {

// Fewer elements than this are done before another thread has woken.
constexpr int64_t kPieceElements = 8192;

}  // namespace

absl::Status CpuElementwise::RmsNorm(const RmsNormArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  const auto run = &HWY_DYNAMIC_DISPATCH(RmsNormRow);
  const int64_t piece = std::max<int64_t>(1, kPieceElements / args.cols);
  const int64_t rows = args.rows;
  pool_.ParallelFor((rows + piece - 1) / piece, [&](int64_t i, int) {
    for (int64_t row = i * piece; row < std::min((i + 1) * piece, rows);
         ++row) {
      run(args, row);
    }
  });
  return absl::OkStatus();
}

absl::Status CpuElementwise::SiluMul(const SiluMulArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  const auto run = &HWY_DYNAMIC_DISPATCH(SiluMulRange);
  pool_.ParallelFor((args.count + kPieceElements - 1) / kPieceElements,
                    [&](int64_t i, int) {
                      run(args, i * kPieceElements,
                          std::min((i + 1) * kPieceElements, args.count));
                    });
  return absl::OkStatus();
}

absl::Status CpuElementwise::Rotary(const RotaryArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  const size_t pairs = args.inverse_frequencies.size();
  const size_t step = std::max<size_t>(1, kMaxAngles / pairs);
  for (size_t first = 0; first < args.positions.size(); first += step) {
    RotaryArgs part = args;
    part.positions = args.positions.subspan(
        first, std::min(step, args.positions.size() - first));
    part.heads += first * static_cast<size_t>(args.num_heads) *
                  static_cast<size_t>(args.head_dim);
    RotaryOfPart(part);
  }
  return absl::OkStatus();
}

void CpuElementwise::RotaryOfPart(const RotaryArgs& args) {
  PrepareAngles(args);
  const auto run = args.pairs == RotaryPairs::kHalves
                       ? &HWY_DYNAMIC_DISPATCH(RotateHalves)
                       : &HWY_DYNAMIC_DISPATCH(RotateInterleaved);
  const int64_t half = args.head_dim / 2;
  const int64_t token_size = int64_t{args.num_heads} * args.head_dim;
  const auto tokens = static_cast<int64_t>(args.positions.size());
  const int64_t piece = std::max<int64_t>(1, kPieceElements / token_size);
  pool_.ParallelFor((tokens + piece - 1) / piece, [&](int64_t i, int) {
    for (int64_t token = i * piece; token < std::min((i + 1) * piece, tokens);
         ++token) {
      float* heads = args.heads + token * token_size;
      for (int head = 0; head < args.num_heads; ++head) {
        run(cosines_.data() + token * half, sines_.data() + token * half, half,
            heads + int64_t{head} * args.head_dim);
      }
    }
  });
}

void CpuElementwise::PrepareAngles(const RotaryArgs& args) {
  if (std::ranges::equal(positions_, args.positions) &&
      std::ranges::equal(inverse_frequencies_, args.inverse_frequencies)) {
    return;
  }
  positions_.assign(args.positions.begin(), args.positions.end());
  inverse_frequencies_.assign(args.inverse_frequencies.begin(),
                              args.inverse_frequencies.end());
  const size_t pairs = inverse_frequencies_.size();
  cosines_.resize(positions_.size() * pairs);
  sines_.resize(positions_.size() * pairs);
  pool_.ParallelFor(
      static_cast<int64_t>(positions_.size()), [&](int64_t i, int) {
        const auto token = static_cast<size_t>(i);
        for (size_t pair = 0; pair < pairs; ++pair) {
          // The product is rounded to float32, as the seam defines it.
          const float angle = static_cast<float>(positions_[token]) *
                              inverse_frequencies_[pair];
          cosines_[token * pairs + pair] = std::cos(angle);
          sines_[token * pairs + pair] = std::sin(angle);
        }
      });
}

}  // namespace winnow
#endif  // HWY_ONCE
