#include "services/decode/sequence_memory.h"

#include <algorithm>

namespace winnow {
namespace {

constexpr uint64_t kSumsPerRow = 4;  // key and value, sum and mean

int64_t BlocksBefore(int64_t token) {
  return (token + kBlockTokens - 1) / kBlockTokens;
}

// Blocks of private tiles that local heads hold at most.  Those that folding
// passed are used again for later ones, from the step after.
int64_t PeakLocalBlocks(const Manifest& manifest, int64_t end) {
  const Plan& plan = manifest.plan;
  // Where there are retrieval heads a tail is loaded for all heads alike.
  const int64_t first_token =
      plan.NumRetrieval() > 0
          ? plan.boundary
          : std::max(plan.boundary, LoadedBegin(plan, manifest.num_tokens));
  const int64_t first = first_token / kBlockTokens;
  const FoldRule rule = plan.fold_rule();
  int64_t peak = BlocksBefore(manifest.num_tokens) - first;
  for (int64_t block = BlocksBefore(manifest.num_tokens);
       block < BlocksBefore(end); ++block) {
    const int64_t position = block * kBlockTokens;
    const int64_t visible =
        position > manifest.num_tokens ? rule.VisibleBegin(position - 1) : 0;
    const int64_t passed = std::max<int64_t>(0, visible / kBlockTokens - first);
    peak = std::max(peak, block + 1 - first - passed);
  }
  return peak;
}

}  // namespace

uint64_t PeakPrivateBytes(const Manifest& manifest, const KvTileShape& tile,
                          int64_t max_tokens) {
  const Plan& plan = manifest.plan;
  const int64_t end = manifest.num_tokens + max_tokens;
  const int num_retrieval = plan.NumRetrieval();
  const int num_local = plan.grid.size() - num_retrieval;
  uint64_t tiles =
      num_retrieval * (BlocksBefore(end) - plan.boundary / kBlockTokens);
  if (num_local > 0) {
    tiles += num_local * PeakLocalBlocks(manifest, end);
  }
  return tiles * tile.Bytes();
}

uint64_t DecodeMemoryBytes(const Manifest& manifest, const KvTileShape& tile,
                           int64_t max_tokens) {
  const Plan& plan = manifest.plan;
  const uint64_t num_local = plan.grid.size() - plan.NumRetrieval();
  const uint64_t sum_bytes = kSumsPerRow * tile.head_dim * sizeof(float);
  return manifest.StoredBytes() + num_local * (sum_bytes + tile.Bytes()) +
         PeakPrivateBytes(manifest, tile, max_tokens);
}

}  // namespace winnow
