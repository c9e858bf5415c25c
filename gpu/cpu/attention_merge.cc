#include "gpu/cpu/attention_merge.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "gpu/cpu/attention_tasks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/cpu/attention_merge.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// foreach_target.h comes first.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace winnow {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;  // divides every head_dim

float Dot(const float* a, const float* b, int count) {
  const Floats d;
  auto sum = hn::Zero(d);
  for (int i = 0; i < count; i += static_cast<int>(hn::Lanes(d))) {
    sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

float CompensationLogit(const LaneMerge& merge, const float* query) {
  const CompensationRef& compensation = merge.compensation;
  return compensation.key == nullptr
             ? kNoMax
             : merge.scale_log2 * Dot(query, compensation.key, merge.head_dim) +
                   compensation.log_bias * std::numbers::log2e_v<float>;
}

// 2^(logit - max).
float Weight(float logit, float max) {
  return logit == max ? 1.0f : std::exp2(logit - max);
}

void Merge(const LaneMerge& merge, int lane, const float* query,
           float* output) {
  const size_t count = merge.partials.size();
  const bool compensated = merge.compensation.key != nullptr;
  const float compensation_logit = CompensationLogit(merge, query);
  float max = compensation_logit;
  for (const AttentionPartial& partial : merge.partials) {
    max = std::max(max, partial.max[lane]);
  }
  float weights[kMaxKeySplits];
  const float compensation_weight =
      compensated ? Weight(compensation_logit, max) : 0.0f;
  float sum = 0;
  for (size_t i = 0; i < count; ++i) {
    weights[i] = Weight(merge.partials[i].max[lane], max);
    sum += weights[i] * merge.partials[i].sum[lane];
  }
  sum += compensation_weight;

  const Floats d;
  const auto inverse = hn::Set(d, 1 / sum);
  for (int dim = 0; dim < merge.head_dim;
       dim += static_cast<int>(hn::Lanes(d))) {
    auto total = hn::Zero(d);
    for (size_t i = 0; i < count; ++i) {
      const float* part = merge.partials[i].output + lane * merge.head_dim;
      total =
          hn::MulAdd(hn::Set(d, weights[i]), hn::LoadU(d, part + dim), total);
    }
    if (compensated) {
      total = hn::MulAdd(hn::Set(d, compensation_weight),
                         hn::LoadU(d, merge.compensation.value + dim), total);
    }
    hn::StoreU(hn::Mul(total, inverse), d, output + dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace winnow {

HWY_EXPORT(Merge);

void MergeLane(const LaneMerge& merge, int lane, const float* query,
               float* output) {
  assert(!merge.partials.empty() && merge.partials.size() <= kMaxKeySplits);
  HWY_DYNAMIC_DISPATCH(Merge)(merge, lane, query, output);
}

}  // namespace winnow
#endif  // HWY_ONCE
