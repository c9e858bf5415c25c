#include "cache_store/plan/head_profile.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace winnow {
namespace {

// Query heads with the highest score, the first `count` of them; equal scores
// in the order (layer, head).
template <typename Score>
std::vector<size_t> TopHeads(size_t num_heads, size_t count,
                             const Score& score) {
  std::vector<size_t> order(num_heads);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return score(a) > score(b); });
  order.resize(std::min(count, num_heads));
  return order;
}

// round(share * heads), halves away from zero.
size_t ShareOf(double share, size_t heads) {
  return static_cast<size_t>(std::llround(share * static_cast<double>(heads)));
}

}  // namespace

std::vector<bool> SelectRetrievalHeads(const std::vector<HeadScores>& scores,
                                       int num_layers, int num_heads,
                                       int num_kv_heads,
                                       const HeadSelectionRule& rule) {
  assert(scores.size() == static_cast<size_t>(num_layers) * num_heads);
  assert(num_kv_heads > 0 && num_heads % num_kv_heads == 0);
  const size_t total = scores.size();
  std::vector<bool> chosen(total);
  for (const size_t head :
       TopHeads(total, ShareOf(rule.induction_share, total),
                [&](size_t i) { return scores[i].induction; })) {
    chosen[head] = true;
  }
  for (const size_t head : TopHeads(total, ShareOf(rule.echo_share, total),
                                    [&](size_t i) { return scores[i].echo; })) {
    chosen[head] = true;
  }
  // Query heads of a group are neighbours, so group = index / size of a group.
  const size_t group = static_cast<size_t>(num_heads) / num_kv_heads;
  std::vector<bool> retrieval(static_cast<size_t>(num_layers) * num_kv_heads);
  for (size_t head = 0; head < total; ++head) {
    if (chosen[head] || scores[head].echo >= rule.echo_min) {
      retrieval[head / group] = true;
    }
  }
  return retrieval;
}

}  // namespace winnow
