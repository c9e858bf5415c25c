#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/base/counter_random.h"
#include "tests/golden.h"
#include "tests/gpu/model_golden.h"
#include "tests/services/pipeline_fixture.h"

namespace winnow {
namespace {

using ::testing::ElementsAreArray;

std::string TinyPath(const char* name) {
  return std::string(WINNOW_GOLDEN_DIR) + "/tiny/" + name;
}

std::vector<int32_t> RandomIds(size_t count, uint64_t seed) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int32_t>(3 + RandomAt(seed, i) % 500);
  }
  return ids;
}

// Every other KV head is a retrieval head.
std::vector<bool> SomeHeads() {
  return {true, false, false, true, false, true};
}

class PipelineTest : public testing::TestWithParam<const char*> {
 protected:
  PipelineTest()
      : store_(MakeStore(size_t{64} << 20)), node_(MakeNode(SomeHeads())) {}

  Node MakeNode(std::vector<bool> retrieval,
                KvDtype dtype = KvDtype::kFloat32) {
    const auto model = LoadModel(TinyPath(GetParam())).value();
    return Node(TinyPath(GetParam()), *store_,
                ProfileOf(model->config(), std::move(retrieval)),
                Numerics::kFloat32, dtype);
  }

  // Prefills on one node and decodes on another; all choices are greedy.
  static std::vector<TokenChoice> Generate(Node& prefiller, Node& decoder,
                                           const std::vector<int32_t>& ids,
                                           int64_t compact_at,
                                           std::string_view policy,
                                           int64_t count) {
    const auto prefilled =
        prefiller.prefill->Run({.ids = ids,
                                .compact_at = compact_at,
                                .policy = ParsePolicy(policy).value(),
                                .sampling = {},
                                .forced_first = std::nullopt},
                               {});
    EXPECT_TRUE(prefilled.ok()) << prefilled.status();
    if (!prefilled.ok()) {
      return {};
    }
    std::vector<TokenChoice> tokens = {prefilled->first};
    const auto decoded =
        decoder.decode->Run({.manifest = prefilled->manifest,
                             .first_token = prefilled->first.id,
                             .max_tokens = count - 1,
                             .sampling = {},
                             .ignore_eos = true,
                             .forced = {}},
                            {}, [&](const TokenChoice& token) {
                              tokens.push_back(token);
                              return true;
                            });
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    return tokens;
  }

  static std::vector<int32_t> Ids(const std::vector<TokenChoice>& tokens) {
    std::vector<int32_t> ids;
    ids.reserve(tokens.size());
    for (const TokenChoice& token : tokens) {
      ids.push_back(token.id);
    }
    return ids;
  }

  void RemoveAll() {
    const auto segments = store_->List({}, 10000);
    ASSERT_TRUE(segments.ok());
    std::vector<SegmentKey> keys;
    for (const SegmentSpec& segment : *segments) {
      keys.push_back(segment.key);
    }
    ASSERT_TRUE(store_->Remove(keys).ok());
  }

  // All leases are over and nothing is reserved.
  void ExpectNothingLeftBehind() {
    const auto stats = store_->GetStats();
    ASSERT_TRUE(stats.ok());
    EXPECT_EQ(stats->leases, 0u);
    EXPECT_EQ(stats->reserved_bytes, 0u);
    EXPECT_EQ(stats->writes_in_flight, 0u);
  }

  std::unique_ptr<KvStore> store_;
  Node node_;
};

TEST_P(PipelineTest, FullPolicyContinuesAsTheBareModel) {
  for (const size_t length : {1, 63, 64, 65, 200}) {
    const std::vector<int32_t> ids = RandomIds(length, length);
    EXPECT_THAT(Ids(Generate(node_, node_, ids, std::ssize(ids), "full", 12)),
                ElementsAreArray(Greedy(*node_.backend, *node_.model,
                                        KvDtype::kFloat32, ids, 12)))
        << length << " tokens";
  }
  ExpectNothingLeftBehind();
}

TEST_P(PipelineTest, FullPolicyDoesNotMindWhereTheContextEnds) {
  const std::vector<int32_t> ids = RandomIds(200, 1);
  const std::vector<int32_t> whole =
      Ids(Generate(node_, node_, ids, 200, "full", 12));
  for (const int64_t compact_at : {1, 63, 64, 100, 128, 199}) {
    EXPECT_THAT(Ids(Generate(node_, node_, ids, compact_at, "full", 12)),
                ElementsAreArray(whole))
        << compact_at;
  }
}

TEST_P(PipelineTest, TwoProcessesThatShareOnlyTheStoreGiveWhatOneGives) {
  Node other = MakeNode(SomeHeads());
  const std::vector<int32_t> ids = RandomIds(300, 2);
  for (const char* policy : {"full", "razor,window=64,slack=64,min_length=0",
                             "streaming,window=64,min_length=0"}) {
    for (const int64_t compact_at : {250, 300}) {
      EXPECT_THAT(Ids(Generate(node_, other, ids, compact_at, policy, 40)),
                  ElementsAreArray(
                      Ids(Generate(node_, node_, ids, compact_at, policy, 40))))
          << policy << ", context of " << compact_at;
    }
  }
  ExpectNothingLeftBehind();
}

// The same tokens one by one over one sequence that never leaves prefill: what
// the hand-over must not change, folding in mid-prompt and in decode included.
TEST_P(PipelineTest, HandOverChangesNoToken) {
  const std::vector<int32_t> ids = RandomIds(330, 3);
  for (const int64_t compact_at : {100, 128, 190, 256}) {
    const std::vector<TokenChoice> handed_over =
        Generate(node_, node_, ids, compact_at,
                 "razor,window=64,slack=0,min_length=0", 40);
    // Prefilling the generated tokens as part of a longer prompt takes the
    // other way through the same rule.
    std::vector<int32_t> longer = ids;
    for (size_t i = 0; i + 1 < handed_over.size(); ++i) {
      longer.push_back(handed_over[i].id);
    }
    const std::vector<TokenChoice> prefilled =
        Generate(node_, node_, longer, compact_at,
                 "razor,window=64,slack=0,min_length=0", 1);
    ASSERT_EQ(prefilled.size(), 1u);
    EXPECT_EQ(prefilled.front().id, handed_over.back().id);
    EXPECT_NEAR(prefilled.front().log_probability,
                handed_over.back().log_probability, 1e-4)
        << compact_at;
  }
}

TEST_P(PipelineTest, AllRetrievalIsBitIdenticalToFull) {
  Node all = MakeNode(std::vector<bool>(6, true));
  const std::vector<int32_t> ids = RandomIds(300, 4);
  const auto razor = Generate(all, all, ids, 250, "razor,min_length=0", 20);
  const auto full = Generate(all, all, ids, 250, "full", 20);
  ASSERT_EQ(razor.size(), full.size());
  for (size_t i = 0; i < full.size(); ++i) {
    EXPECT_EQ(razor[i].id, full[i].id);
    EXPECT_EQ(razor[i].log_probability, full[i].log_probability);
  }
}

TEST_P(PipelineTest, SecondPrefillOfAContextStoresItsSharedSegmentsOnce) {
  const std::vector<int32_t> ids = RandomIds(256, 5);
  Generate(node_, node_, ids, 256, "razor,window=64,min_length=0", 2);
  const uint64_t used = store_->GetStats()->used_bytes;
  Generate(node_, node_, ids, 256, "razor,window=64,min_length=0", 2);
  EXPECT_EQ(store_->GetStats()->used_bytes, used);
  // Another retention shares R and W: only its anchor and tail are new.
  Generate(node_, node_, ids, 256, "razor,window=64,slack=0,min_length=0", 2);
  EXPECT_LT(store_->GetStats()->used_bytes, used + used / 4);
}

TEST_P(PipelineTest, AnotherPromptOverAKnownContextGivesWhatAFreshStoreGives) {
  const std::vector<int32_t> context = RandomIds(250, 10);
  std::vector<int32_t> first = context;
  std::vector<int32_t> second = context;
  for (const int32_t id : {7, 8, 9}) {
    first.push_back(id);
    second.push_back(id + 100);
  }
  for (const char* policy : {"full", "razor,window=64,slack=64,min_length=0",
                             "streaming,window=64,min_length=0"}) {
    const PrefillRequest request = {.ids = second,
                                    .compact_at = 250,
                                    .policy = ParsePolicy(policy).value(),
                                    .sampling = {},
                                    .forced_first = std::nullopt};
    const auto fresh = node_.prefill->Run(request, {});
    ASSERT_TRUE(fresh.ok()) << fresh.status();
    EXPECT_EQ(fresh->reused_tokens, 0);
    RemoveAll();
    Generate(node_, node_, first, 250, policy, 2);
    const auto reused = node_.prefill->Run(request, {});
    ASSERT_TRUE(reused.ok()) << reused.status();
    EXPECT_EQ(reused->reused_tokens, 250) << policy;
    EXPECT_EQ(reused->first.id, fresh->first.id);
    EXPECT_EQ(reused->first.log_probability, fresh->first.log_probability);
    RemoveAll();
  }
}

TEST_P(PipelineTest, FullPolicyReusesTheLongestKnownPrefix) {
  const std::vector<int32_t> ids = RandomIds(300, 11);
  const std::vector<int32_t> start(ids.begin(), ids.begin() + 150);
  const std::vector<int32_t> alone =
      Ids(Generate(node_, node_, ids, 300, "full", 12));
  RemoveAll();
  Generate(node_, node_, start, 150, "full", 2);
  const auto longer = node_.prefill->Run({.ids = ids,
                                          .compact_at = 300,
                                          .policy = ParsePolicy("full").value(),
                                          .sampling = {},
                                          .forced_first = std::nullopt},
                                         {});
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_EQ(longer->reused_tokens, 128);
  EXPECT_THAT(Ids(Generate(node_, node_, ids, 300, "full", 12)),
              ElementsAreArray(alone));
}

TEST_P(PipelineTest, LostSegmentMeansLessReuseNotAnError) {
  const std::vector<int32_t> ids = RandomIds(300, 12);
  const PrefillRequest request = {.ids = ids,
                                  .compact_at = 300,
                                  .policy = ParsePolicy("full").value(),
                                  .sampling = {},
                                  .forced_first = std::nullopt};
  const auto first = node_.prefill->Run(request, {});
  ASSERT_TRUE(first.ok()) << first.status();
  const SegmentKey second_block = first->manifest.segments[1].key;
  ASSERT_TRUE(store_->Remove({&second_block, 1}).ok());
  const auto again = node_.prefill->Run(request, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->reused_tokens, 64);
  EXPECT_EQ(again->first.id, first->first.id);
}

TEST_P(PipelineTest, FullStoreRefusesBeforeAnyComputeAndKeepsNothing) {
  const auto small = MakeStore(1 << 16);
  const auto model = LoadModel(TinyPath(GetParam())).value();
  Node node(TinyPath(GetParam()), *small,
            ProfileOf(model->config(), SomeHeads()), Numerics::kFloat32,
            KvDtype::kFloat32);
  const auto result = node.prefill->Run({.ids = RandomIds(300, 6),
                                         .compact_at = 300,
                                         .policy = ParsePolicy("full").value(),
                                         .sampling = {},
                                         .forced_first = std::nullopt},
                                        {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(small->GetStats()->used_bytes, 0u);
  EXPECT_EQ(small->GetStats()->reserved_bytes, 0u);
}

TEST_P(PipelineTest, LostCacheIsAbortedWithTheReason) {
  const std::vector<int32_t> ids = RandomIds(128, 7);
  auto prefilled = node_.prefill->Run({.ids = ids,
                                       .compact_at = 128,
                                       .policy = ParsePolicy("full").value(),
                                       .sampling = {},
                                       .forced_first = std::nullopt},
                                      {});
  ASSERT_TRUE(prefilled.ok());
  const Manifest& manifest = prefilled->manifest;
  ASSERT_TRUE(store_->Release(manifest.lease.id).ok());
  std::vector<SegmentKey> keys;
  keys.reserve(manifest.segments.size());
  for (const ManifestSegment& segment : manifest.segments) {
    keys.push_back(segment.key);
  }
  ASSERT_TRUE(store_->Remove(keys).ok());
  const auto decoded =
      node_.decode->Run({.manifest = manifest,
                         .first_token = 5,
                         .max_tokens = 1,
                         .sampling = {},
                         .ignore_eos = true,
                         .forced = {}},
                        {}, [](const TokenChoice&) { return true; });
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(decoded.status().message()),
              ::testing::HasSubstr("absent"));
  ExpectNothingLeftBehind();
}

TEST_P(PipelineTest, RefusesTooLongAPromptWithBothNumbers) {
  const auto result = node_.prefill->Run({.ids = RandomIds(600, 8),
                                          .compact_at = 600,
                                          .policy = ParsePolicy("full").value(),
                                          .sampling = {},
                                          .forced_first = std::nullopt},
                                         {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(result.status().message()),
              ::testing::AllOf(::testing::HasSubstr("600"),
                               ::testing::HasSubstr("512")));
}

TEST_P(PipelineTest, RefusesAManifestOfAnotherModel) {
  auto prefilled = node_.prefill->Run({.ids = RandomIds(64, 9),
                                       .compact_at = 64,
                                       .policy = ParsePolicy("full").value(),
                                       .sampling = {},
                                       .forced_first = std::nullopt},
                                      {});
  ASSERT_TRUE(prefilled.ok());
  prefilled->manifest.identity.model_digest[0] ^= 1;
  const auto decoded =
      node_.decode->Run({.manifest = prefilled->manifest,
                         .first_token = 5,
                         .max_tokens = 1,
                         .sampling = {},
                         .ignore_eos = true,
                         .forced = {}},
                        {}, [](const TokenChoice&) { return true; });
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kFailedPrecondition);
}

INSTANTIATE_TEST_SUITE_P(Models, PipelineTest,
                         testing::Values("llama", "qwen3"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace winnow
