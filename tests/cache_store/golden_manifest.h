#pragma once

#include <string>

#include "cache_store/format/manifest.h"
#include "tests/cache_store/golden_profile.h"

namespace winnow {

inline constexpr KvTileShape kTile = {.head_dim = 64,
                                      .dtype = KvDtype::kBfloat16};

inline Plan MakeGoldenPlan(const std::string& policy, int64_t num_tokens) {
  static const HeadProfile kProfile = GoldenProfile();
  return *MakePlan(*ParsePolicy(policy), &kProfile, kGoldenGrid, num_tokens);
}

// A valid manifest; the demo's context and a prompt of 21 tokens by default.
inline Manifest MakeManifest(const std::string& policy = "razor,window=256",
                             int64_t num_tokens = 2872, int64_t prompt = 21) {
  Manifest manifest;
  manifest.identity.dtype = kTile.dtype;
  manifest.plan = MakeGoldenPlan(policy, num_tokens);
  manifest.num_tokens = num_tokens + prompt;
  manifest.next_position = manifest.num_tokens;
  manifest.segments =
      ExpectedSegments(manifest.plan, kTile, manifest.num_tokens);
  for (ManifestSegment& segment : manifest.segments) {
    segment.key = RandomSegmentKey();
  }
  manifest.recent_ids = {1};
  return manifest;
}

}  // namespace winnow
