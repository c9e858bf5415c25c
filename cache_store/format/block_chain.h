#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cache_store/format/segment_key.h"
#include "cache_store/plan/plan.h"
#include "gpu/kv_tile.h"

namespace winnow {

using BlockDigest = std::array<uint8_t, 32>;

// Everything besides the tokens that changes the bytes of a cache.
struct CacheIdentity {
  std::array<uint8_t, 32> model_digest{};
  std::array<uint8_t, 32> tokenizer_digest{};
  KvDtype dtype = KvDtype::kBfloat16;
  std::string rotary;       // ModelConfig::rotary_description
  std::string tenant_salt;  // empty: the local user

  bool operator==(const CacheIdentity&) const = default;
};

// Chain of block digests over a context (design, section 3):
//
//   d(0)   = H(0x00 ‖ lp(format version) ‖ lp(model digest) ‖
//              lp(tokenizer digest) ‖ lp(head classes) ‖ lp(dtype) ‖
//              lp(layout id) ‖ lp(rotary) ‖ lp(tenant salt))
//   d(k+1) = H(0x01 ‖ d(k) ‖ 64 token ids u32 LE)
//   mark   = H(0x02 ‖ d(b/B) ‖ retention parameters)
//   key    = H(0x03 ‖ d ‖ kind ‖ lp(extras))
//
// H is SHA-256; lp(x) is the length as u32 LE and then the bytes.  Retention
// parameters enter A, X and the mark only, so that plans share R and W.
class BlockChain {
 public:
  // The chain before any token, for the head classes of `plan`.
  static BlockChain Start(const CacheIdentity& identity, const Plan& plan);

  // Appends whole blocks: `ids` is a multiple of 64 long.
  void Append(std::span<const int32_t> ids);
  // Marks a continuation from the compacted boundary at the chain's end: equal
  // keys then mean equal computation.  The blocks up to there keep their
  // digests and keys; the mark enters what follows, a tail included.  Marking
  // the same boundary again replaces the mark.
  void MarkLineage(const Plan& plan);

  // d(k), k <= num_blocks().
  const BlockDigest& digest(size_t k) const { return digests_[k]; }
  // What the next block or tail continues from: d(num_blocks()), or its mark.
  const BlockDigest& tip() const { return tip_; }
  size_t num_blocks() const { return digests_.size() - 1; }

  SegmentKey RetrievalKey(size_t block) const;   // R(i): d(i+1), kind
  SegmentKey WindowKey(size_t block) const;      // W(i): d(i+1), kind
  SegmentKey AnchorKey(const Plan& plan) const;  // A(b): d(b/B), retention
  // T(b, N): d(b/B), kind, the ids of [b, N).
  SegmentKey TailKey(std::span<const int32_t> tail_ids) const;

 private:
  explicit BlockChain(const BlockDigest& start)
      : digests_{start}, tip_(start) {}
  std::vector<BlockDigest> digests_;
  BlockDigest tip_;
};

// A random key, for segments that are private to one hand-over.
SegmentKey RandomSegmentKey();

// Canonical bytes of the retention parameters: policy, sinks, window, slack,
// weights.
std::string RetentionParameters(const Plan& plan);

}  // namespace winnow
