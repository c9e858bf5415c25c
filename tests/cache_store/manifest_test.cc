#include "cache_store/format/manifest.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cache_store/golden_manifest.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

// "A W4 R44 T T": kinds with their counts, private ones in brackets.
std::string Kinds(const Manifest& manifest) {
  std::string kinds;
  const auto& segments = manifest.segments;
  for (size_t i = 0; i < segments.size();) {
    size_t end = i;
    while (end < segments.size() &&
           segments[end].shape.kind == segments[i].shape.kind &&
           segments[end].shared == segments[i].shared) {
      ++end;
    }
    const char kind = static_cast<char>(segments[i].shape.kind);
    kinds += segments[i].shared ? std::string(1, kind)
                                : "(" + std::string(1, kind) + ")";
    kinds += end - i > 1 ? std::to_string(end - i) + " " : " ";
    i = end;
  }
  return kinds;
}

void ExpectInvalid(const std::function<void(Manifest&)>& change,
                   const std::string& named,
                   Manifest manifest = MakeManifest()) {
  change(manifest);
  const absl::Status status = ValidateManifest(manifest);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << named;
  EXPECT_THAT(std::string(status.message()), HasSubstr(named));
}

TEST(ManifestTest, NamesItsSegmentsInOrder) {
  EXPECT_EQ(Kinds(MakeManifest()), "A W4 R44 T (T) ");
  EXPECT_EQ(Kinds(MakeManifest("full")), "R44 T (T) ");
  EXPECT_EQ(Kinds(MakeManifest("streaming,window=1024")), "A W16 T (T) ");
  EXPECT_EQ(Kinds(MakeManifest("razor,window=256", 1216, 0)), "A W4 R19 ");
  EXPECT_EQ(Kinds(MakeManifest("razor,window=256,min_length=0", 130, 0)),
            "W2 R2 T ");
  EXPECT_EQ(Kinds(MakeManifest("razor,min_length=0", 63, 0)), "T ");
}

TEST(ManifestTest, ALongPromptBringsAPrivateAnchorOfItsOwn) {
  const Manifest manifest = MakeManifest("razor,window=256", 2872, 1000);
  EXPECT_EQ(Kinds(manifest), "A W4 R44 T (T) (A) ");
  // The last token of 3,872 sees from block start of 3,871 - 256 - 256.
  EXPECT_EQ(LoadedBegin(manifest.plan, 3872), 3328);
  EXPECT_EQ(manifest.segments.back().shape.first_token, 4u);
  EXPECT_EQ(manifest.segments.back().shape.end_token, 3328u);
  EXPECT_TRUE(ValidateManifest(manifest).ok());
}

TEST(ManifestTest, AShortPromptLeavesTheWindowWhereItIs) {
  const Manifest manifest = MakeManifest();
  EXPECT_EQ(LoadedBegin(manifest.plan, manifest.num_tokens), 2560);
  EXPECT_EQ(LoadedBegin(manifest.plan, 2872), 2560);
  EXPECT_EQ(LoadedBegin(MakeManifest("full").plan, 1 << 20), 0);
}

TEST(ManifestTest, ShapesSayWhichHeadsAndTokens) {
  const Manifest manifest = MakeManifest();
  const SegmentShape& anchor = manifest.segments[0].shape;
  EXPECT_EQ(anchor.num_heads, 67u);
  EXPECT_EQ(anchor.num_sinks, 4u);
  EXPECT_EQ(anchor.num_blocks, 0u);
  EXPECT_EQ(anchor.first_token, 4u);
  EXPECT_EQ(anchor.end_token, 2560u);
  EXPECT_EQ(manifest.segments[1].shape.num_heads, 67u);
  EXPECT_EQ(manifest.segments[1].shape.first_token, 2560u);
  EXPECT_EQ(manifest.segments[5].shape.num_heads, 23u);
  EXPECT_EQ(manifest.segments[5].shape.first_token, 0u);
  const SegmentShape& prompt = manifest.segments.back().shape;
  EXPECT_EQ(prompt.num_heads, 90u);
  EXPECT_EQ(prompt.first_token, 2872u);
  EXPECT_EQ(prompt.end_token, 2893u);
  EXPECT_EQ(prompt.num_blocks, 2u);  // 2,872 lies inside a block
}

TEST(ManifestTest, EveryExpectedShapeIsOneThatAHeaderMayHave) {
  Manifest manifest = MakeManifest("razor,window=256", 2872, 1000);
  for (const ManifestSegment& segment : manifest.segments) {
    std::vector<std::byte> bytes(segment.shape.SegmentBytes());
    SealSegment({.key = segment.key, .shape = segment.shape}, bytes);
    EXPECT_FALSE(SegmentPayload(segment.key, segment.shape, bytes).empty())
        << static_cast<char>(segment.shape.kind);
  }
}

TEST(ManifestTest, WhatItsPlanSaysIsValid) {
  for (const std::string policy :
       {"full", "razor", "razor,window=256", "razor,compensation=off",
        "streaming", "razor,random_heads=5", "razor,induction_share=1",
        "razor,window_divisor=5,sinks=0"}) {
    for (const int64_t num_tokens : {1, 63, 64, 65, 1024, 1216, 2872}) {
      for (const int64_t prompt : {0, 1, 500, 3000}) {
        const absl::Status status =
            ValidateManifest(MakeManifest(policy, num_tokens, prompt));
        EXPECT_TRUE(status.ok())
            << policy << " " << num_tokens << " " << prompt << " " << status;
      }
    }
  }
}

TEST(ManifestTest, StoredBytesCountHeaders) {
  const Manifest manifest = MakeManifest("full", 128, 0);
  // Two blocks of 90 heads, 64 tokens, 64 dimensions, K and V, two bytes.
  EXPECT_EQ(manifest.StoredBytes(), 2 * (256 + uint64_t{90} * 64 * 64 * 2 * 2));
}

TEST(ManifestTest, APlanThatContradictsItselfIsRefused) {
  ExpectInvalid([](Manifest& m) { m.plan.grid.num_layers = 0; }, "grid");
  ExpectInvalid([](Manifest& m) { m.plan.grid.num_layers = 1 << 30; }, "grid");
  ExpectInvalid([](Manifest& m) { m.plan.retrieval.pop_back(); }, "retrieval");
  ExpectInvalid([](Manifest& m) { m.plan.weights.push_back(0); }, "weights");
  ExpectInvalid([](Manifest& m) { m.plan.num_tokens = -1; }, "num_tokens");
  ExpectInvalid([](Manifest& m) { m.plan.boundary -= 64; }, "boundary");
  ExpectInvalid([](Manifest& m) { m.plan.window = 100; }, "window");
  ExpectInvalid([](Manifest& m) { m.plan.window = 0; }, "window");
  ExpectInvalid([](Manifest& m) { m.plan.window_begin += 64; }, "window_begin");
  ExpectInvalid([](Manifest& m) { m.plan.sinks = 5; }, "sinks");
  ExpectInvalid([](Manifest& m) { m.plan.slack = 0; }, "slack");
  ExpectInvalid([](Manifest& m) { m.plan.policy = Policy{}; }, "full");
  ExpectInvalid([](Manifest& m) { m.plan.policy.min_length = 4096; },
                "min_length");
  ExpectInvalid([](Manifest& m) { m.plan.policy.sinks = 500; }, "policy");
  ExpectInvalid([](Manifest& m) { m.plan.policy.kind = PolicyKind{77}; },
                "policy");
}

TEST(ManifestTest, WeightsAreFiniteAndOfLocalHeadsOnly) {
  const auto set_weight = [](bool retrieval, float weight) {
    return [=](Manifest& m) {
      for (size_t head = 0; head < m.plan.weights.size(); ++head) {
        if (m.plan.retrieval[head] == retrieval) {
          m.plan.weights[head] = weight;
        }
      }
    };
  };
  ExpectInvalid(set_weight(false, -1), "weights");
  ExpectInvalid(set_weight(false, -0.0F), "weights");
  ExpectInvalid(set_weight(false, std::nanf("")), "weights");
  ExpectInvalid(set_weight(false, 1e30F), "weights");
  ExpectInvalid(set_weight(true, 1), "weights");
}

TEST(ManifestTest, LengthsOutOfRangeAreRefused) {
  ExpectInvalid([](Manifest& m) { m.num_tokens = 2871; }, "num_tokens");
  ExpectInvalid([](Manifest& m) { m.num_tokens = int64_t{1} << 62; },
                "num_tokens");
  ExpectInvalid([](Manifest& m) { m.next_position = -1; }, "next_position");
  ExpectInvalid([](Manifest& m) { m.recent_ids.assign(2894, 1); },
                "recent_ids");
  ExpectInvalid([](Manifest& m) { m.recent_ids = {-1}; }, "recent_ids");
  ExpectInvalid([](Manifest& m) { m.lease.ttl = -absl::Seconds(1); }, "lease");
}

TEST(ManifestTest, SegmentsOtherThanExpectedAreRefused) {
  ExpectInvalid([](Manifest& m) { m.segments.pop_back(); }, "segments");
  ExpectInvalid([](Manifest& m) { m.segments.clear(); }, "segments");
  ExpectInvalid([](Manifest& m) { m.segments.push_back(m.segments[0]); },
                "segments");
  ExpectInvalid([](Manifest& m) { std::swap(m.segments[1], m.segments[2]); },
                "segments[1]");
  ExpectInvalid([](Manifest& m) { std::swap(m.segments[0], m.segments[5]); },
                "segments[0]");
  ExpectInvalid([](Manifest& m) { m.segments[3].shape.num_heads = 23; },
                "segments[3]");
  ExpectInvalid([](Manifest& m) { m.segments[7].shape.tile.head_dim = 128; },
                "segments[7]");
  ExpectInvalid([](Manifest& m) { m.segments[2].shared = false; },
                "segments[2]");
  ExpectInvalid([](Manifest& m) { m.segments.back().shared = true; }, "shared");
}

TEST(ManifestTest, AKeyIsUsedOnce) {
  ExpectInvalid([](Manifest& m) { m.segments[4].key = m.segments[1].key; },
                "key of segments[4]");
}

TEST(ManifestTest, TheTileIsOfTheIdentityAndInRange) {
  ExpectInvalid([](Manifest& m) { m.identity.dtype = KvDtype::kFloat32; },
                "dtype");
  ExpectInvalid([](Manifest& m) { m.identity.dtype = KvDtype{9}; }, "dtype");
  ExpectInvalid(
      [](Manifest& m) { m.segments[0].shape.tile.head_dim = 1 << 30; },
      "head_dim");
}

TEST(ManifestTest, AHugeClaimCostsNothing) {
  // Two million segments would follow from this length; none are made.
  ExpectInvalid(
      [](Manifest& m) {
        m.plan = MakeGoldenPlan("razor", kMaxContextTokens);
        m.num_tokens = kMaxContextTokens;
      },
      "segments");
}

}  // namespace
}  // namespace winnow
