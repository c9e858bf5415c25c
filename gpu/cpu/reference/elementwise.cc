#include "gpu/cpu/reference/elementwise.h"

#include <cmath>

#include "gpu/base/status.h"
#include "gpu/check_arguments.h"

namespace winnow {
namespace {

void RotatePair(float& first, float& second, float angle) {
  const double cosine = std::cos(double{angle});
  const double sine = std::sin(double{angle});
  const double rotated_first = first * cosine - second * sine;
  const double rotated_second = second * cosine + first * sine;
  first = static_cast<float>(rotated_first);
  second = static_cast<float>(rotated_second);
}

}  // namespace

absl::Status ReferenceElementwise::RmsNorm(const RmsNormArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* input = args.input + row * args.cols;
    float* output = args.output + row * args.cols;
    double squares = 0;
    for (int col = 0; col < args.cols; ++col) {
      squares += double{input[col]} * input[col];
    }
    const double inverse =
        1.0 / std::sqrt(squares / args.cols + double{args.epsilon});
    for (int col = 0; col < args.cols; ++col) {
      output[col] = static_cast<float>(input[col] * inverse * args.scale[col]);
    }
  }
  return absl::OkStatus();
}

absl::Status ReferenceElementwise::Rotary(const RotaryArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  const int half = args.head_dim / 2;
  const bool halves = args.pairs == RotaryPairs::kHalves;
  float* head = args.heads;
  for (const int32_t position : args.positions) {
    for (int i = 0; i < args.num_heads; ++i) {
      for (int pair = 0; pair < half; ++pair) {
        const size_t index = static_cast<size_t>(pair);
        const float angle =
            static_cast<float>(position) * args.inverse_frequencies[index];
        float& first = halves ? head[pair] : head[2 * pair];
        float& second = halves ? head[pair + half] : head[2 * pair + 1];
        RotatePair(first, second, angle);
      }
      head += args.head_dim;
    }
  }
  return absl::OkStatus();
}

absl::Status ReferenceElementwise::SiluMul(const SiluMulArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  for (int64_t i = 0; i < args.count; ++i) {
    const double gate = args.gate[i];
    args.output[i] =
        static_cast<float>(gate / (1.0 + std::exp(-gate)) * args.up[i]);
  }
  return absl::OkStatus();
}

}  // namespace winnow
