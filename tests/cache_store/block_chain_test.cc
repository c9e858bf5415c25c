#include "cache_store/format/block_chain.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cache_store/golden_profile.h"

namespace winnow {
namespace {

template <typename Bytes>
Bytes FromHex(const std::string& hex) {
  const std::string raw = absl::HexStringToBytes(hex);
  Bytes bytes{};
  EXPECT_EQ(raw.size(), bytes.size());
  std::copy(raw.begin(), raw.end(), bytes.begin());
  return bytes;
}

// The vectors of tests/golden/make_segment.py.
class GoldenKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    golden_ = ReadGoldenJson("keys.json");
    ASSERT_TRUE(golden_.is_object());
    identity_ = {
        .model_digest = FromHex<BlockDigest>(golden_["model_digest"]),
        .tokenizer_digest = FromHex<BlockDigest>(golden_["tokenizer_digest"]),
        .dtype = KvDtype::kBfloat16,
        .rotary = golden_["rotary"],
        .tenant_salt = golden_["tenant_salt"]};
    plan_.policy = *ParsePolicy(golden_["policy"].get<std::string>());
    plan_.grid = {.num_layers = golden_["num_layers"],
                  .num_kv_heads = golden_["num_kv_heads"]};
    for (const int bit : golden_["retrieval"]) {
      plan_.retrieval.push_back(bit != 0);
    }
    plan_.weights = golden_["weights"].get<std::vector<float>>();
    ids_ = golden_["ids"].get<std::vector<int32_t>>();
    tail_ids_ = golden_["tail_ids"].get<std::vector<int32_t>>();
    plan_.num_tokens = static_cast<int64_t>(ids_.size() + tail_ids_.size());
    plan_.boundary = static_cast<int64_t>(ids_.size());
    plan_.sinks = 4;
    plan_.window = 256;
    plan_.slack = 256;
    plan_.window_begin = plan_.boundary - 256;
  }

  BlockChain Chain() const {
    BlockChain chain = BlockChain::Start(identity_, plan_);
    chain.Append(ids_);
    return chain;
  }
  std::string Golden(const char* name) const { return golden_.at(name); }

  nlohmann::json golden_;
  CacheIdentity identity_;
  Plan plan_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> tail_ids_;
};

TEST_F(GoldenKeysTest, RetentionParametersAreCanonical) {
  EXPECT_EQ(Hex(RetentionParameters(plan_)), Golden("retention"));
}

TEST_F(GoldenKeysTest, EveryDigestOfTheChain) {
  const BlockChain chain = Chain();
  ASSERT_EQ(chain.num_blocks() + 1, golden_["digests"].size());
  for (size_t k = 0; k <= chain.num_blocks(); ++k) {
    EXPECT_EQ(Hex(chain.digest(k)), golden_["digests"][k].get<std::string>())
        << k;
  }
}

TEST_F(GoldenKeysTest, KeysOfEveryKind) {
  const BlockChain chain = Chain();
  EXPECT_EQ(chain.RetrievalKey(0).ToHex(), Golden("retrieval_key_0"));
  EXPECT_EQ(chain.WindowKey(17).ToHex(), Golden("window_key_17"));
  EXPECT_EQ(chain.AnchorKey(plan_).ToHex(), Golden("anchor_key"));
  EXPECT_EQ(chain.TailKey(tail_ids_).ToHex(), Golden("tail_key"));
}

TEST_F(GoldenKeysTest, AMarkEntersWhatFollowsAndNothingBefore) {
  const BlockChain plain = Chain();
  BlockChain chain = plain;
  chain.MarkLineage(plan_);
  EXPECT_EQ(chain.RetrievalKey(17), plain.RetrievalKey(17));
  EXPECT_EQ(chain.AnchorKey(plan_), plain.AnchorKey(plan_));
  EXPECT_EQ(chain.TailKey(tail_ids_).ToHex(), Golden("marked_tail_key"));
  chain.Append(golden_["next_ids"].get<std::vector<int32_t>>());
  EXPECT_EQ(Hex(chain.digest(19)), Golden("marked_digest"));
  EXPECT_EQ(chain.RetrievalKey(18).ToHex(), Golden("marked_retrieval_key_18"));
}

TEST_F(GoldenKeysTest, MarkingTwiceIsMarkingOnce) {
  BlockChain once = Chain();
  once.MarkLineage(plan_);
  BlockChain twice = once;
  twice.MarkLineage(plan_);
  EXPECT_EQ(once.tip(), twice.tip());
}

TEST_F(GoldenKeysTest, AppendingInPartsIsAppendingAtOnce) {
  BlockChain parts = BlockChain::Start(identity_, plan_);
  parts.Append(std::span(ids_).first(64));
  parts.Append({});
  parts.Append(std::span(ids_).subspan(64));
  EXPECT_EQ(parts.digest(18), Chain().digest(18));
}

TEST_F(GoldenKeysTest, EveryPartOfTheIdentityChangesTheKeys) {
  const SegmentKey key = Chain().RetrievalKey(0);
  const CacheIdentity original = identity_;
  const auto changed = [&](const auto& change) {
    identity_ = original;
    change(identity_);
    return Chain().RetrievalKey(0) != key;
  };
  EXPECT_TRUE(changed([](CacheIdentity& i) { i.model_digest[31] ^= 1; }));
  EXPECT_TRUE(changed([](CacheIdentity& i) { i.tokenizer_digest[0] ^= 1; }));
  EXPECT_TRUE(changed([](CacheIdentity& i) { i.dtype = KvDtype::kFloat32; }));
  EXPECT_TRUE(changed([](CacheIdentity& i) { i.rotary += "x"; }));
  EXPECT_TRUE(changed([](CacheIdentity& i) { i.tenant_salt = ""; }));
  // The same bytes, divided otherwise.
  EXPECT_TRUE(changed([](CacheIdentity& i) {
    i.rotary += i.tenant_salt;
    i.tenant_salt = "";
  }));
}

// Keys under plans of real policies.
class SharingTest : public ::testing::Test {
 protected:
  Plan Make(const std::string& policy) const {
    return *MakePlan(*ParsePolicy(policy), &profile_, kGoldenGrid,
                     static_cast<int64_t>(ids_.size()));
  }
  BlockChain Chain(const Plan& plan) const {
    BlockChain chain = BlockChain::Start({}, plan);
    chain.Append(ids_);
    return chain;
  }

  HeadProfile profile_ = GoldenProfile();
  std::vector<int32_t> ids_ = std::vector<int32_t>(1280, 7);
};

TEST_F(SharingTest, PlansThatDifferInRetentionShareBlocksButNoAnchor) {
  const Plan first = Make("razor,window=256");
  for (const std::string policy :
       {"razor,window=512", "razor,window=256,sinks=8",
        "razor,window=256,slack=0", "razor,window=256,compensation=off"}) {
    const Plan second = Make(policy);
    const BlockChain a = Chain(first);
    const BlockChain b = Chain(second);
    for (size_t block = 0; block < a.num_blocks(); ++block) {
      EXPECT_EQ(a.RetrievalKey(block), b.RetrievalKey(block)) << policy;
      EXPECT_EQ(a.WindowKey(block), b.WindowKey(block)) << policy;
    }
    EXPECT_NE(a.AnchorKey(first), b.AnchorKey(second)) << policy;
    const std::vector<int32_t> tail = {1};
    EXPECT_EQ(a.TailKey(tail), b.TailKey(tail)) << policy;
  }
}

TEST_F(SharingTest, PlansWithOtherHeadClassesShareNothing) {
  const BlockChain razor = Chain(Make("razor"));
  for (const std::string policy : {"full", "streaming,window=256",
                                   "razor,random_heads=1", "razor,echo=off"}) {
    const BlockChain other = Chain(Make(policy));
    EXPECT_NE(razor.RetrievalKey(0), other.RetrievalKey(0)) << policy;
    EXPECT_NE(razor.WindowKey(0), other.WindowKey(0)) << policy;
  }
}

TEST_F(SharingTest, SharesThatChooseTheSameHeadsShareBlocks) {
  EXPECT_EQ(Chain(Make("razor")).RetrievalKey(0),
            Chain(Make("razor,induction_share=0.14,echo_share=0.01"))
                .RetrievalKey(0));
}

TEST_F(SharingTest, ABlockIsNamedByAllThatPrecedesIt) {
  const Plan plan = Make("razor");
  const BlockChain before = Chain(plan);
  ids_[70] = 8;  // in block 1
  const BlockChain after = Chain(plan);
  EXPECT_EQ(before.RetrievalKey(0), after.RetrievalKey(0));
  EXPECT_NE(before.RetrievalKey(1), after.RetrievalKey(1));
  EXPECT_NE(before.RetrievalKey(19), after.RetrievalKey(19));
}

TEST_F(SharingTest, NoTwoKindsOfABlockHaveOneKey) {
  const BlockChain chain = Chain(Make("razor"));
  EXPECT_NE(chain.RetrievalKey(3), chain.WindowKey(3));
  EXPECT_NE(chain.RetrievalKey(3), chain.RetrievalKey(4));
}

TEST(RandomSegmentKeyTest, NeverRepeats) {
  EXPECT_NE(RandomSegmentKey(), RandomSegmentKey());
  EXPECT_NE(RandomSegmentKey(), SegmentKey{});
}

}  // namespace
}  // namespace winnow
