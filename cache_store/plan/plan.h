#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "cache_store/plan/head_profile.h"
#include "cache_store/plan/policy.h"
#include "gpu/model/fold_rule.h"

namespace winnow {

// Limits on what a plan may say; sums of tokens stay far from overflow.
inline constexpr int64_t kMaxContextTokens = int64_t{1} << 26;
inline constexpr int kMaxGridSide = 1024;  // layers, and KV heads of one

// Shape of a model's KV cache, as far as a plan needs it.
struct HeadGrid {
  int num_layers = 0;
  int num_kv_heads = 0;

  int size() const { return num_layers * num_kv_heads; }
  bool operator==(const HeadGrid&) const = default;
};

// What every (layer, KV head) keeps of a context: a policy applied to a length.
//
// With boundary b = floor(N / 64) * 64, local heads keep sinks, the window
// [window_begin, b), the tail [b, N) and a compensation entry for the dropped
// tokens [sinks, window_begin).  If nothing is dropped, sinks are not kept
// apart: window_begin is 0 and there is no anchor.
struct Plan {
  Policy policy;  // as asked for, kFull where the context is too short
  HeadGrid grid;
  std::vector<bool> retrieval;  // [layer * num_kv_heads + KV head]
  std::vector<float> weights;   // compensation; 0: no entry
  int64_t num_tokens = 0;       // N
  int64_t boundary = 0;         // b
  int64_t window = 0;           // w, in whole blocks; 0 where no head is local
  int64_t window_begin = 0;     // b - w, never below 0
  int sinks = 0;
  int slack = 0;

  bool IsRetrieval(int layer, int head) const {
    return retrieval[static_cast<size_t>(layer) * grid.num_kv_heads + head];
  }
  float Weight(int layer, int head) const {
    return weights[static_cast<size_t>(layer) * grid.num_kv_heads + head];
  }
  int NumRetrieval() const;
  bool HasLocalHeads() const;
  // True if tokens are dropped, so that an anchor exists.
  bool HasAnchor() const;
  // Tokens [sinks, window_begin) that each local head dropped.
  int64_t NumDropped() const;
  // What local heads go on folding after the boundary.
  FoldRule fold_rule() const {
    return {.window_begin = window_begin,
            .window = window,
            .slack = slack,
            .sinks = sinks};
  }
};

// Applies `policy` to a context of `num_tokens`.  `profile` may be null for
// policies that need none (full, streaming).
//
// FailedPrecondition if the policy needs a profile and there is none;
// InvalidArgument if the profile is of another shape.
absl::StatusOr<Plan> MakePlan(const Policy& policy, const HeadProfile* profile,
                              const HeadGrid& grid, int64_t num_tokens);

// First token that a local head still sees, besides its sinks, at position
// `position` after the boundary: block start of
// max(b - w, position - w - slack).  Never below plan.window_begin.
//
// The rule also holds where there was no anchor at the boundary: once block 0
// leaves, its tokens [sinks, 64) are folded and its sinks are kept apart.
int64_t VisibleBegin(const Plan& plan, int64_t position);

}  // namespace winnow
