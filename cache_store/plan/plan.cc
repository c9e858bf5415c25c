#include "cache_store/plan/plan.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "gpu/kv_tile.h"

namespace winnow {
namespace {

constexpr int kStreamingWindow = 1024;

int64_t FloorToBlock(int64_t tokens) {
  return tokens / kBlockTokens * kBlockTokens;
}

absl::Status CheckProfile(const HeadProfile* profile, const HeadGrid& grid) {
  if (profile == nullptr) {
    return absl::FailedPreconditionError(
        "policy razor needs a head profile and this model has none; make one "
        "with `winnow profile --model M --out F` and pass --profile F");
  }
  if (profile->num_layers != grid.num_layers ||
      profile->num_kv_heads != grid.num_kv_heads ||
      profile->retrieval.size() != static_cast<size_t>(grid.size()) ||
      profile->weights.size() != static_cast<size_t>(grid.size()) ||
      profile->scores.size() !=
          static_cast<size_t>(profile->num_layers) * profile->num_heads) {
    return absl::InvalidArgumentError(
        absl::StrCat("head profile is for ", profile->num_layers, " layers of ",
                     profile->num_kv_heads, " KV heads, the model has ",
                     grid.num_layers, " of ", grid.num_kv_heads));
  }
  return absl::OkStatus();
}

// As many heads as `retrieval` has, chosen by a Fisher-Yates shuffle whose
// i-th draw is RandomAt(seed, i): the same on every machine.
std::vector<bool> RandomHeads(const std::vector<bool>& retrieval,
                              uint64_t seed) {
  std::vector<size_t> order(retrieval.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  const auto count = std::ranges::count(retrieval, true);
  std::vector<bool> chosen(retrieval.size());
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const size_t left = order.size() - i;
    std::swap(order[i], order[i + RandomAt(seed, i) % left]);
    chosen[order[i]] = true;
  }
  return chosen;
}

std::vector<bool> RazorClasses(const Policy& policy,
                               const HeadProfile& profile) {
  std::vector<bool> retrieval = profile.retrieval;
  if (policy.induction_share || policy.echo_share || policy.echo_min ||
      !policy.echo) {
    HeadSelectionRule rule = profile.rule;
    rule.induction_share =
        policy.induction_share.value_or(rule.induction_share);
    rule.echo_share = policy.echo_share.value_or(rule.echo_share);
    rule.echo_min = policy.echo_min.value_or(rule.echo_min);
    if (!policy.echo) {
      rule.echo_share = 0;
      rule.echo_min = std::numeric_limits<double>::infinity();
    }
    retrieval =
        SelectRetrievalHeads(profile.scores, profile.num_layers,
                             profile.num_heads, profile.num_kv_heads, rule);
  }
  return policy.random_heads ? RandomHeads(retrieval, *policy.random_heads)
                             : retrieval;
}

std::vector<float> RazorWeights(const Policy& policy,
                                const HeadProfile& profile,
                                const std::vector<bool>& retrieval) {
  std::vector<float> weights(retrieval.size());
  for (size_t head = 0; head < weights.size(); ++head) {
    if (retrieval[head] || policy.compensation == Compensation::kOff) {
      continue;
    }
    // The sum turns -0 into 0: weights enter keys by their bits.
    weights[head] = policy.compensation == Compensation::kOn
                        ? 1.0F
                        : profile.weights[head] + 0.0F;
  }
  return weights;
}

// Window in tokens for a context with this boundary.
int64_t WindowTokens(const Policy& policy, const HeadProfile* profile,
                     int64_t boundary) {
  const int fixed = policy.kind == PolicyKind::kStreaming ? kStreamingWindow
                                                          : profile->window;
  int64_t window = policy.window.value_or(fixed);
  if (policy.window_divisor > 0) {
    const int64_t step = int64_t{policy.window_divisor} * kBlockTokens;
    window = std::max(window, (boundary + step - 1) / step * kBlockTokens);
  }
  return window;
}

Plan FullPlan(const HeadGrid& grid, int64_t num_tokens) {
  Plan plan;
  plan.grid = grid;
  plan.retrieval.assign(grid.size(), true);
  plan.weights.assign(grid.size(), 0);
  plan.num_tokens = num_tokens;
  plan.boundary = FloorToBlock(num_tokens);
  return plan;
}

}  // namespace

int Plan::NumRetrieval() const {
  return static_cast<int>(std::ranges::count(retrieval, true));
}

bool Plan::HasLocalHeads() const { return NumRetrieval() < grid.size(); }

bool Plan::HasAnchor() const { return window_begin > sinks && HasLocalHeads(); }

int64_t Plan::NumDropped() const {
  return HasAnchor() ? window_begin - sinks : 0;
}

absl::StatusOr<Plan> MakePlan(const Policy& policy, const HeadProfile* profile,
                              const HeadGrid& grid, int64_t num_tokens) {
  if (grid.num_layers < 1 || grid.num_layers > kMaxGridSide ||
      grid.num_kv_heads < 1 || grid.num_kv_heads > kMaxGridSide) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a plan needs 1 to ", kMaxGridSide, " layers and KV heads, not ",
        grid.num_layers, " and ", grid.num_kv_heads));
  }
  if (num_tokens < 0 || num_tokens > kMaxContextTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a context has 0 to ", kMaxContextTokens, " tokens, not ", num_tokens));
  }
  Plan plan = FullPlan(grid, num_tokens);
  if (policy.kind == PolicyKind::kRazor) {
    // Also where the context turns out short: a missing profile shows at once.
    WINNOW_RETURN_IF_ERROR(CheckProfile(profile, grid));
  }
  if (policy.kind == PolicyKind::kFull || plan.boundary < policy.min_length) {
    return plan;
  }
  plan.policy = policy;
  if (policy.kind == PolicyKind::kRazor) {
    plan.retrieval = RazorClasses(policy, *profile);
    plan.weights = RazorWeights(policy, *profile, plan.retrieval);
  } else {
    plan.retrieval.assign(grid.size(), false);
  }
  if (!plan.HasLocalHeads()) {
    return plan;
  }
  plan.sinks = policy.sinks;
  plan.slack = policy.slack;
  plan.window = WindowTokens(policy, profile, plan.boundary);
  plan.window_begin = std::max<int64_t>(plan.boundary - plan.window, 0);
  if (plan.window_begin <= plan.sinks) {
    plan.window_begin = 0;  // nothing is dropped
  }
  return plan;
}

int64_t VisibleBegin(const Plan& plan, int64_t position) {
  return plan.HasLocalHeads() ? plan.fold_rule().VisibleBegin(position) : 0;
}

}  // namespace winnow
