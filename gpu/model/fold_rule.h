#pragma once

#include <algorithm>
#include <cstdint>

#include "gpu/kv_tile.h"

namespace winnow {

// Which tokens a local head still sees after its context was compacted: at
// position p its sinks, the compensation entry, and everything from
//   max(window_begin, floor_to_block(p - window - slack)).
// The same rule holds in prefill and in decode, so that both compute the same.
struct FoldRule {
  int64_t window_begin = 0;  // start of the window at the boundary
  int64_t window = 0;        // tokens, whole blocks
  int64_t slack = 0;         // tokens, whole blocks
  int sinks = 0;             // first tokens that are never folded, <= 64

  int64_t VisibleBegin(int64_t position) const {
    const int64_t oldest =
        std::max<int64_t>(0, position - window - slack) / kBlockTokens;
    return std::max(window_begin, oldest * kBlockTokens);
  }

  // The first position after `position` at which VisibleBegin grows.
  int64_t NextChange(int64_t position) const {
    return VisibleBegin(position) + kBlockTokens + window + slack;
  }

  bool operator==(const FoldRule&) const = default;
};

}  // namespace winnow
