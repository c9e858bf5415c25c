#include "services/common/cache_sequence.h"

#include "cache_store/format/block_chain.h"

namespace winnow {
namespace {

// Names one shared segment and says which digest of the chain it belongs to.
struct SegmentName {
  SegmentKey key;
  BlockDigest chain_digest;
};

SegmentName NameShared(const BlockChain& chain, const Plan& plan,
                       const SegmentShape& shape,
                       std::span<const int32_t> context) {
  const size_t block = shape.first_token / kBlockTokens;
  switch (shape.kind) {
    case SegmentKind::kRetrieval:
      return {chain.RetrievalKey(block), chain.digest(block + 1)};
    case SegmentKind::kWindow:
      return {chain.WindowKey(block), chain.digest(block + 1)};
    case SegmentKind::kAnchor:
      return {chain.AnchorKey(plan), chain.tip()};
    default:
      return {chain.TailKey(context.subspan(plan.boundary)), chain.tip()};
  }
}

}  // namespace

HeadGrid GridOf(const ModelConfig& config) {
  return {.num_layers = config.num_layers, .num_kv_heads = config.num_kv_heads};
}

KvTileShape TileOf(const ModelConfig& config, KvDtype dtype) {
  return {.head_dim = config.head_dim, .dtype = dtype};
}

KvSequenceOptions SequenceOptions(const ModelConfig& config, const Plan& plan,
                                  KvDtype dtype, int64_t max_tokens) {
  std::vector<bool> local = plan.retrieval;
  local.flip();
  return {.num_layers = config.num_layers,
          .num_kv_heads = config.num_kv_heads,
          .tile = TileOf(config, dtype),
          .local = std::move(local),
          .weights = plan.weights,
          .max_tokens = max_tokens};
}

void NameSegments(std::span<const int32_t> context, const KvTileShape& tile,
                  Manifest& manifest,
                  std::vector<std::array<uint8_t, 32>>& chain_digests) {
  const Plan& plan = manifest.plan;
  BlockChain chain = BlockChain::Start(manifest.identity, plan);
  chain.Append(context.first(plan.boundary));
  manifest.segments = ExpectedSegments(plan, tile, manifest.num_tokens);
  for (ManifestSegment& segment : manifest.segments) {
    const SegmentName name =
        segment.shared ? NameShared(chain, plan, segment.shape, context)
                       : SegmentName{RandomSegmentKey(), {}};
    segment.key = name.key;
    chain_digests.push_back(name.chain_digest);
  }
}

std::vector<SegmentSpec> SegmentSpecs(const Manifest& manifest) {
  std::vector<SegmentSpec> specs;
  for (const ManifestSegment& segment : manifest.segments) {
    const SegmentShape& shape = segment.shape;
    const auto block = static_cast<uint32_t>(shape.first_token / kBlockTokens);
    specs.push_back({.key = segment.key,
                     .kind = shape.kind,
                     .rank = EvictionRank(shape.kind, block),
                     .bytes = shape.SegmentBytes()});
  }
  return specs;
}

}  // namespace winnow
