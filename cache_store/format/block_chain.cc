// Byte strings that are hashed, besides those of block_chain.h; integers are
// little-endian, lp(x) is the length as u32 and then the bytes:
//
//   format version       := u16, kSegmentVersion
//   head classes         := layers:u32 KV_heads:u32 bits
//   bits                 := one a head, [layer][KV head], 1 for retrieval, from
//                           the lowest bit of the first byte up, 0-padded
//   dtype                := u8, KvDtype
//   layout id            := u16, kTileLayoutId
//   retention parameters := lp(policy name) sinks:u32 window:u32 slack:u32
//                           heads:u32 weights:f32[layers][KV heads]
//   kind                 := u8, SegmentKind
//   extras               := of A: retention parameters; of T: token ids as u32;
//                           of R and W: empty
//
// Test vectors: tests/golden/keys.json
#include "cache_store/format/block_chain.h"

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <openssl/rand.h>

#include "cache_store/format/segment.h"
#include "gpu/base/sha256.h"

namespace winnow {
namespace {

// First byte of everything that is hashed, so that no two kinds collide.
constexpr char kStartTag = 0x00;
constexpr char kBlockTag = 0x01;
constexpr char kMarkTag = 0x02;
constexpr char kKeyTag = 0x03;

template <typename T>
void AppendBytes(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <size_t N>
void AppendBytes(std::string& bytes, const std::array<uint8_t, N>& value) {
  bytes.append(reinterpret_cast<const char*>(value.data()), N);
}

void AppendPrefixed(std::string& bytes, std::string_view value) {
  AppendBytes(bytes, static_cast<uint32_t>(value.size()));
  bytes.append(value);
}

template <typename T>
std::string Bytes(const T& value) {
  std::string bytes;
  AppendBytes(bytes, value);
  return bytes;
}

std::string HeadClasses(const Plan& plan) {
  std::string bytes;
  AppendBytes(bytes, static_cast<uint32_t>(plan.grid.num_layers));
  AppendBytes(bytes, static_cast<uint32_t>(plan.grid.num_kv_heads));
  std::string bits((plan.retrieval.size() + 7) / 8, '\0');
  for (size_t head = 0; head < plan.retrieval.size(); ++head) {
    bits[head / 8] = static_cast<char>(bits[head / 8] |
                                       (plan.retrieval[head] << (head % 8)));
  }
  return bytes + bits;
}

std::string IdBytes(std::span<const int32_t> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

SegmentKey Key(const BlockDigest& digest, SegmentKind kind,
               std::string_view extras) {
  std::string bytes(1, kKeyTag);
  AppendBytes(bytes, digest);
  AppendBytes(bytes, kind);
  AppendPrefixed(bytes, extras);
  return {Sha256(bytes)};
}

}  // namespace

BlockChain BlockChain::Start(const CacheIdentity& identity, const Plan& plan) {
  std::string bytes(1, kStartTag);
  AppendPrefixed(bytes, Bytes(kSegmentVersion));
  AppendPrefixed(bytes, Bytes(identity.model_digest));
  AppendPrefixed(bytes, Bytes(identity.tokenizer_digest));
  AppendPrefixed(bytes, HeadClasses(plan));
  AppendPrefixed(bytes, Bytes(identity.dtype));
  AppendPrefixed(bytes, Bytes(kTileLayoutId));
  AppendPrefixed(bytes, identity.rotary);
  AppendPrefixed(bytes, identity.tenant_salt);
  return BlockChain(Sha256(bytes));
}

void BlockChain::Append(std::span<const int32_t> ids) {
  assert(ids.size() % kBlockTokens == 0);
  for (size_t at = 0; at < ids.size(); at += kBlockTokens) {
    std::string bytes(1, kBlockTag);
    AppendBytes(bytes, tip_);
    bytes += IdBytes(ids.subspan(at, kBlockTokens));
    tip_ = Sha256(bytes);
    digests_.push_back(tip_);
  }
}

void BlockChain::MarkLineage(const Plan& plan) {
  std::string bytes(1, kMarkTag);
  AppendBytes(bytes, digests_.back());
  bytes += RetentionParameters(plan);
  tip_ = Sha256(bytes);
}

SegmentKey BlockChain::RetrievalKey(size_t block) const {
  assert(block < num_blocks());
  return Key(digests_[block + 1], SegmentKind::kRetrieval, "");
}

SegmentKey BlockChain::WindowKey(size_t block) const {
  assert(block < num_blocks());
  return Key(digests_[block + 1], SegmentKind::kWindow, "");
}

SegmentKey BlockChain::AnchorKey(const Plan& plan) const {
  const auto block = static_cast<size_t>(plan.boundary / kBlockTokens);
  assert(block <= num_blocks());
  return Key(digests_[block], SegmentKind::kAnchor, RetentionParameters(plan));
}

SegmentKey BlockChain::TailKey(std::span<const int32_t> tail_ids) const {
  assert(!tail_ids.empty() && tail_ids.size() < kBlockTokens);
  return Key(tip_, SegmentKind::kTail, IdBytes(tail_ids));
}

SegmentKey RandomSegmentKey() {
  SegmentKey key;
  if (RAND_bytes(key.bytes.data(), static_cast<int>(key.bytes.size())) != 1) {
    std::abort();  // a guessable key would open one tenant's cache to another
  }
  return key;
}

std::string RetentionParameters(const Plan& plan) {
  std::string bytes;
  AppendPrefixed(bytes, PolicyName(plan.policy.kind));
  AppendBytes(bytes, static_cast<uint32_t>(plan.sinks));
  AppendBytes(bytes, static_cast<uint32_t>(plan.window));
  AppendBytes(bytes, static_cast<uint32_t>(plan.slack));
  AppendBytes(bytes, static_cast<uint32_t>(plan.weights.size()));
  for (const float weight : plan.weights) {
    AppendBytes(bytes, weight);
  }
  return bytes;
}

}  // namespace winnow
