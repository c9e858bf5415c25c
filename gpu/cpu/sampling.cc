#include "gpu/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/cpu/sampling.cc"
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

// The largest of `count` values; NaN if one of them is no number.
float Largest(const float* values, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto valid = hn::FirstN(d, lanes);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto x = hn::LoadU(d, values + i);
    valid = hn::And(valid, hn::Eq(x, x));
    largest = hn::Max(largest, x);
  }
  bool all_valid = hn::AllTrue(d, valid);
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) {
    all_valid = all_valid && !std::isnan(values[i]);
    result = std::max(result, values[i]);
  }
  return all_valid ? result : std::numeric_limits<float>::quiet_NaN();
}

// Sum of exp(values[i] - largest); lanes add float32, at most 1 each.
double SumOfExponentials(const float* values, size_t count, float largest) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto offset = hn::Set(d, largest);
  // exp(-104) is zero in float32; the bound keeps minus infinity out.
  const auto least = hn::Set(d, -104.0f);
  auto sum = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto x = hn::Sub(hn::LoadU(d, values + i), offset);
    sum = hn::Add(sum, hn::Exp(d, hn::Max(x, least)));
  }
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) {
    total += std::exp(double{values[i]} - double{largest});
  }
  return total;
}

// The first index from `begin` on whose value is above `threshold`, or count.
size_t FindAbove(const float* values, size_t begin, size_t count,
                 float threshold) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto bound = hn::Set(d, threshold);
  size_t i = begin;
  for (; i + lanes <= count; i += lanes) {
    const auto above = hn::Gt(hn::LoadU(d, values + i), bound);
    const intptr_t first = hn::FindFirstTrue(d, above);
    if (first >= 0) {
      return i + static_cast<size_t>(first);
    }
  }
  while (i < count && !(values[i] > threshold)) {
    ++i;
  }
  return i;
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace winnow {

HWY_EXPORT(Largest);
HWY_EXPORT(SumOfExponentials);
HWY_EXPORT(FindAbove);

absl::Status CpuSampling::TopLogits(const TopLogitsArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckArguments(args));
  const float* logits = args.logits.data();
  const size_t count = args.logits.size();
  const float largest = HWY_DYNAMIC_DISPATCH(Largest)(logits, count);
  if (std::isnan(largest)) {
    return absl::InvalidArgumentError("logits holds a value that is no number");
  }
  SelectTop(args);
  if (std::isinf(largest)) {
    *args.log_sum_exp = largest;
    return absl::OkStatus();
  }
  const double sum =
      HWY_DYNAMIC_DISPATCH(SumOfExponentials)(logits, count, largest);
  *args.log_sum_exp = static_cast<float>(double{largest} + std::log(sum));
  return absl::OkStatus();
}

void CpuSampling::SelectTop(const TopLogitsArgs& args) {
  const size_t top = args.ids.size();
  if (top == 0) {
    return;
  }
  // Of equal logits the smaller id comes first.
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  // The heap's front is the last of the top so far.  Ids ascend, so a logit
  // equal to the front's is not better.
  heap_.clear();
  for (size_t i = 0; i < top; ++i) {
    heap_.push_back({args.logits[i], static_cast<int32_t>(i)});
  }
  std::ranges::make_heap(heap_, before);
  const auto find = &HWY_DYNAMIC_DISPATCH(FindAbove);
  const float* logits = args.logits.data();
  const size_t count = args.logits.size();
  for (size_t i = find(logits, top, count, heap_.front().logit); i < count;
       i = find(logits, i + 1, count, heap_.front().logit)) {
    std::ranges::pop_heap(heap_, before);
    heap_.back() = {logits[i], static_cast<int32_t>(i)};
    std::ranges::push_heap(heap_, before);
  }
  std::ranges::sort_heap(heap_, before);
  for (size_t i = 0; i < top; ++i) {
    args.ids[i] = heap_[i].id;
    args.values[i] = heap_[i].logit;
  }
}

}  // namespace winnow
#endif  // HWY_ONCE
