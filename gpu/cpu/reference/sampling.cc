#include "gpu/cpu/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gpu/base/status.h"
#include "gpu/check_arguments.h"

namespace winnow {
namespace {

float LogSumExp(std::span<const float> logits) {
  const double largest = std::ranges::max(logits);
  if (std::isinf(largest)) {
    return static_cast<float>(largest);
  }
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(double{logit} - largest);
  }
  return static_cast<float>(largest + std::log(sum));
}

}  // namespace

absl::Status ReferenceSampling::TopLogits(const TopLogitsArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  if (std::ranges::any_of(args.logits,
                          [](float logit) { return std::isnan(logit); })) {
    return absl::InvalidArgumentError("logits holds a value that is no number");
  }
  std::vector<int32_t> order(args.logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
    return args.logits[static_cast<size_t>(a)] >
           args.logits[static_cast<size_t>(b)];
  });
  for (size_t i = 0; i < args.ids.size(); ++i) {
    args.ids[i] = order[i];
    args.values[i] = args.logits[static_cast<size_t>(order[i])];
  }
  *args.log_sum_exp = LogSumExp(args.logits);
  return absl::OkStatus();
}

}  // namespace winnow
