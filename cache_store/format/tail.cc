#include "cache_store/format/tail.h"

#include <algorithm>

namespace winnow {

std::vector<TailBlock> TailBlocks(const SegmentShape& shape) {
  const auto first = static_cast<int64_t>(shape.first_token);
  const auto end = static_cast<int64_t>(shape.end_token);
  std::vector<TailBlock> blocks;
  for (int64_t at = first; at < end;) {
    const int64_t block = at / kBlockTokens;
    const int64_t block_begin = block * kBlockTokens;
    const int64_t stop = std::min(end, block_begin + kBlockTokens);
    blocks.push_back({.block = block,
                      .begin = static_cast<int>(at - block_begin),
                      .end = static_cast<int>(stop - block_begin),
                      .first_row = static_cast<size_t>(at - first)});
    at = stop;
  }
  return blocks;
}

}  // namespace winnow
