#include "services/prefill/prefix_reuse.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "gpu/base/status.h"
#include "services/common/cache_sequence.h"
#include "services/common/miss_status.h"

namespace winnow {
namespace {

std::vector<SegmentKey> KeysOf(std::span<const ManifestSegment> segments) {
  std::vector<SegmentKey> keys;
  for (const ManifestSegment& segment : segments) {
    keys.push_back(segment.key);
  }
  return keys;
}

// The shared segments of a context, which come first in its manifest.
std::span<const ManifestSegment> ContextSegments(const Manifest& manifest) {
  const auto first_private =
      std::ranges::find(manifest.segments, false, &ManifestSegment::shared);
  return {manifest.segments.begin(), first_private};
}

// How many tokens from the start are in the store, by the rules of the header.
absl::StatusOr<int64_t> CountReusable(const Manifest& manifest,
                                      KvStore& store) {
  const Plan& plan = manifest.plan;
  const auto segments = ContextSegments(manifest);
  WINNOW_ASSIGN_OR_RETURN(const ProbeResult probe,
                          store.Probe(KeysOf(segments)));
  const auto first_miss = std::ranges::find_if(
      probe.segments,
      [](MissReason reason) { return reason != MissReason::kNone; });
  const bool has_prompt = manifest.num_tokens > plan.num_tokens;
  if (first_miss == probe.segments.end() && has_prompt) {
    return plan.num_tokens;
  }
  if (plan.HasLocalHeads()) {
    return 0;
  }
  // Without local heads the segments are R(0), R(1), ... and the tail.
  const int64_t wanted = has_prompt ? plan.num_tokens : plan.num_tokens - 1;
  return std::min<int64_t>(first_miss - probe.segments.begin(),
                           wanted / kBlockTokens) *
         kBlockTokens;
}

// The manifest of the first `num_tokens` of a context without a prompt.
Manifest PrefixManifest(const Manifest& manifest,
                        std::span<const int32_t> context, int64_t num_tokens) {
  Manifest prefix;
  prefix.identity = manifest.identity;
  prefix.plan = manifest.plan;
  prefix.plan.num_tokens = num_tokens;
  prefix.plan.boundary = num_tokens / kBlockTokens * kBlockTokens;
  prefix.num_tokens = num_tokens;
  prefix.next_position = num_tokens;
  std::vector<std::array<uint8_t, 32>> chain_digests;  // of no use here
  NameSegments(context.first(num_tokens), manifest.segments.front().shape.tile,
               prefix, chain_digests);
  return prefix;
}

}  // namespace

absl::StatusOr<ReusedPrefix> ReusePrefix(const SharedBackend& compute,
                                         const ModelConfig& config,
                                         const Manifest& manifest,
                                         std::span<const int32_t> context,
                                         KvStore& store, absl::Duration ttl) {
  WINNOW_ASSIGN_OR_RETURN(const int64_t num_tokens,
                          CountReusable(manifest, store));
  if (num_tokens == 0) {
    return ReusedPrefix();
  }
  const Manifest prefix = PrefixManifest(manifest, context, num_tokens);
  WINNOW_ASSIGN_OR_RETURN(const AcquireResult acquired,
                          store.Acquire(KeysOf(prefix.segments), ttl));
  ReusedPrefix reused;
  if (!acquired.complete()) {
    reused.miss = FirstMiss(acquired.misses);
    return reused;
  }
  reused.lease = LeaseHandle(store, acquired.lease.id);
  auto loaded = LoadSequence(compute, config, prefix, store, acquired.lease.id,
                             manifest.num_tokens);
  if (absl::IsAborted(loaded.status())) {  // lost or damaged since the probe
    ReusedPrefix lost;
    lost.miss = MissOf(loaded.status());
    return lost;
  }
  WINNOW_RETURN_IF_ERROR(loaded.status());
  reused.loaded = *std::move(loaded);
  reused.num_tokens = num_tokens;
  return reused;
}

}  // namespace winnow
