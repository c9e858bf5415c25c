#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cache_store/format/manifest.h"
#include "cache_store/plan/plan.h"
#include "cache_store/store/kv_store.h"
#include "gpu/model/kv_sequence.h"
#include "gpu/model/model_config.h"

namespace winnow {

// What prefill and decode must agree on about a model's cache.

HeadGrid GridOf(const ModelConfig& config);
KvTileShape TileOf(const ModelConfig& config, KvDtype dtype);

// A sequence whose heads have the classes and weights of `plan`.
KvSequenceOptions SequenceOptions(const ModelConfig& config, const Plan& plan,
                                  KvDtype dtype, int64_t max_tokens);

// Fills manifest.segments with the segments that its plan and length call for:
// shared ones keyed by the context's tokens, private ones at random.
// `chain_digests` gets the digest that goes into each one's header.
void NameSegments(std::span<const int32_t> context, const KvTileShape& tile,
                  Manifest& manifest,
                  std::vector<std::array<uint8_t, 32>>& chain_digests);

// The segments of a manifest as a store is told of them, in the same order.
std::vector<SegmentSpec> SegmentSpecs(const Manifest& manifest);

}  // namespace winnow
