#include "gpu/model/kv_sequence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/base/counter_random.h"
#include "gpu/cpu/cpu_backend.h"

namespace winnow {
namespace {

using ::testing::ElementsAreArray;
using ::testing::FloatNear;
using ::testing::Pointwise;

constexpr int kHeads = 2;  // head 0 retrieves, head 1 is local
constexpr int kDim = 16;
constexpr int kRow = kHeads * kDim;

std::vector<float> RandomRows(int num_tokens, uint64_t seed) {
  std::vector<float> rows(static_cast<size_t>(num_tokens) * kRow);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<float>(2 * UniformAt(seed, i) - 1);
  }
  return rows;
}

class KvSequenceTest : public testing::Test {
 protected:
  std::unique_ptr<KvSequence> Make(KvDtype dtype = KvDtype::kFloat32,
                                   int64_t max_tokens = 2000) {
    return KvSequence::Create(*backend_,
                              {.num_layers = 1,
                               .num_kv_heads = kHeads,
                               .tile = {.head_dim = kDim, .dtype = dtype},
                               .local = {false, true},
                               .weights = {0, 1},
                               .max_tokens = max_tokens})
        .value();
  }

  // Appends tokens [begin, end) of the rows in steps of `step`.
  static void Append(KvSequence& sequence, const std::vector<float>& keys,
                     const std::vector<float>& values, int begin, int end,
                     int step) {
    for (int at = begin; at < end; at += step) {
      const int count = std::min(step, end - at);
      ASSERT_TRUE(
          sequence.Append(0, &keys[at * kRow], &values[at * kRow], count).ok());
      sequence.EndStep(count);
    }
  }

  // Attention of one query of the local head.
  std::vector<float> Attend(const KvSequence& sequence) {
    const std::vector<float> query = RandomRows(1, 99);
    std::vector<float> output(kDim);
    const AttentionRow row = {.tiles = sequence.Tiles(0, 1),
                              .compensation = sequence.Compensation(0, 1),
                              .query = query.data(),
                              .output = output.data(),
                              .num_queries = 1};
    EXPECT_TRUE(backend_
                    ->Attention({.rows = {&row, 1},
                                 .tile = sequence.options().tile,
                                 .group = 1,
                                 .token_stride = kDim,
                                 .scale = 0.25f})
                    .ok());
    return output;
  }

  const std::unique_ptr<Backend> backend_ =
      CreateCpuBackend({.numerics = Numerics::kFloat32}).value();
};

constexpr FoldRule kRule = {
    .window_begin = 0, .window = 64, .slack = 0, .sinks = 4};

TEST_F(KvSequenceTest, HoldsTokensHoweverTheyWereAppended) {
  const auto keys = RandomRows(200, 1);
  const auto values = RandomRows(200, 2);
  for (const int step : {1, 7, 64, 65, 200}) {
    auto sequence = Make();
    Append(*sequence, keys, values, 0, 200, step);
    EXPECT_EQ(sequence->num_tokens(), 200);
    const KvTileShape shape = sequence->options().tile;
    for (int token = 0; token < 200; ++token) {
      for (int head = 0; head < kHeads; ++head) {
        const auto* tile = static_cast<const float*>(
            sequence->BlockTile(0, head, token / kBlockTokens));
        const int slot = token % kBlockTokens;
        for (int dim = 0; dim < kDim; ++dim) {
          const size_t at = token * kRow + head * kDim + dim;
          ASSERT_EQ(tile[shape.KeyIndex(slot, dim)], keys[at]);
          ASSERT_EQ(tile[shape.ValueIndex(slot, dim)], values[at]);
        }
      }
    }
  }
}

TEST_F(KvSequenceTest, LocalHeadKeepsSinksAndWhatTheRuleShows) {
  auto sequence = Make();
  Append(*sequence, RandomRows(300, 1), RandomRows(300, 2), 0, 300, 50);
  sequence->SetFoldRule(kRule);
  ASSERT_TRUE(sequence->FoldBefore(0, 192).ok());
  const auto tiles = sequence->Tiles(0, 1);
  ASSERT_EQ(tiles.size(), 3u);  // sinks, [192, 256), [256, 300)
  EXPECT_EQ(tiles[0].count, 4);
  EXPECT_EQ(tiles[1].count, 64);
  EXPECT_EQ(tiles[2].count, 44);
  EXPECT_EQ(sequence->NumFolded(0), 188);
  EXPECT_EQ(sequence->Tiles(0, 0).size(), 5u) << "the retrieval head";
}

TEST_F(KvSequenceTest, SumsAreThoseOfAPlainLoop) {
  const auto keys = RandomRows(300, 3);
  const auto values = RandomRows(300, 4);
  auto sequence = Make();
  Append(*sequence, keys, values, 0, 300, 300);
  sequence->SetFoldRule(kRule);
  ASSERT_TRUE(sequence->FoldBefore(0, 192).ok());
  std::vector<float> key_sum(kDim);
  std::vector<float> value_sum(kDim);
  for (int token = 4; token < 192; ++token) {
    for (int dim = 0; dim < kDim; ++dim) {
      key_sum[dim] += keys[token * kRow + kDim + dim];
      value_sum[dim] += values[token * kRow + kDim + dim];
    }
  }
  EXPECT_THAT(sequence->KeySum(0, 1), ElementsAreArray(key_sum));
  EXPECT_THAT(sequence->ValueSum(0, 1), ElementsAreArray(value_sum));
}

TEST_F(KvSequenceTest, FoldingBlockByBlockEqualsOneGoBitForBit) {
  for (const KvDtype dtype : {KvDtype::kFloat32, KvDtype::kBfloat16}) {
    const auto keys = RandomRows(400, 5);
    const auto values = RandomRows(400, 6);
    auto at_once = Make(dtype);
    auto stepwise = Make(dtype);
    for (KvSequence* sequence : {at_once.get(), stepwise.get()}) {
      Append(*sequence, keys, values, 0, 400, 100);
      sequence->SetFoldRule(kRule);
    }
    ASSERT_TRUE(at_once->FoldBefore(0, 320).ok());
    for (int64_t begin = 64; begin <= 320; begin += 64) {
      ASSERT_TRUE(stepwise->FoldBefore(0, begin).ok());
    }
    EXPECT_THAT(stepwise->KeySum(0, 1),
                ElementsAreArray(at_once->KeySum(0, 1)));
    EXPECT_THAT(stepwise->ValueSum(0, 1),
                ElementsAreArray(at_once->ValueSum(0, 1)));
    EXPECT_THAT(Attend(*stepwise), ElementsAreArray(Attend(*at_once)));
  }
}

TEST_F(KvSequenceTest, OrderOfDroppedTokensDoesNotMatter) {
  auto keys = RandomRows(256, 7);
  auto values = RandomRows(256, 8);
  auto sequence = Make();
  Append(*sequence, keys, values, 0, 256, 256);
  // Reverses the tokens [4, 192), which are about to be dropped.
  for (std::vector<float>* rows : {&keys, &values}) {
    const std::vector<float> original = *rows;
    for (int token = 4; token < 192; ++token) {
      std::copy_n(&original[(195 - token) * kRow], kRow,
                  &(*rows)[token * kRow]);
    }
  }
  auto reversed = Make();
  Append(*reversed, keys, values, 0, 256, 256);
  for (KvSequence* each : {sequence.get(), reversed.get()}) {
    each->SetFoldRule(kRule);
    ASSERT_TRUE(each->FoldBefore(0, 192).ok());
  }
  EXPECT_THAT(Attend(*reversed),
              Pointwise(FloatNear(1e-5f), Attend(*sequence)));
}

TEST_F(KvSequenceTest, IdenticalDroppedKeysGiveFullAttention) {
  auto keys = RandomRows(256, 9);
  const auto values = RandomRows(256, 10);
  for (int token = 5; token < 192; ++token) {
    std::copy_n(&keys[4 * kRow], kRow, &keys[token * kRow]);
  }
  auto full = Make();
  auto folded = Make();
  Append(*full, keys, values, 0, 256, 256);
  Append(*folded, keys, values, 0, 256, 256);
  folded->SetFoldRule(kRule);
  ASSERT_TRUE(folded->FoldBefore(0, 192).ok());
  EXPECT_THAT(Attend(*folded), Pointwise(FloatNear(1e-5f), Attend(*full)));
}

TEST_F(KvSequenceTest, OneDroppedTokenGivesFullAttention) {
  const auto keys = RandomRows(128, 11);
  const auto values = RandomRows(128, 12);
  auto full = Make();
  auto folded = Make();
  Append(*full, keys, values, 0, 128, 128);
  Append(*folded, keys, values, 0, 128, 128);
  FoldRule rule = kRule;
  rule.sinks = 63;
  folded->SetFoldRule(rule);
  ASSERT_TRUE(folded->FoldBefore(0, 64).ok());
  ASSERT_EQ(folded->NumFolded(0), 1);
  EXPECT_THAT(Attend(*folded), Pointwise(FloatNear(1e-5f), Attend(*full)));
}

TEST_F(KvSequenceTest, WholeBlockOfSinksFoldsNothing) {
  auto sequence = Make();
  Append(*sequence, RandomRows(128, 13), RandomRows(128, 14), 0, 128, 128);
  const std::vector<float> before = Attend(*sequence);
  FoldRule rule = kRule;
  rule.sinks = 64;
  sequence->SetFoldRule(rule);
  ASSERT_TRUE(sequence->FoldBefore(0, 64).ok());
  EXPECT_EQ(sequence->Compensation(0, 1).key, nullptr);
  EXPECT_THAT(Attend(*sequence), Pointwise(FloatNear(1e-6f), before));
}

TEST_F(KvSequenceTest, WithoutSinksEverythingFolds) {
  auto sequence = Make();
  Append(*sequence, RandomRows(128, 15), RandomRows(128, 16), 0, 128, 128);
  FoldRule rule = kRule;
  rule.sinks = 0;
  sequence->SetFoldRule(rule);
  ASSERT_TRUE(sequence->FoldBefore(0, 64).ok());
  EXPECT_EQ(sequence->NumFolded(0), 64);
  EXPECT_EQ(sequence->Tiles(0, 1).size(), 1u);
}

TEST_F(KvSequenceTest, PrivateMemoryOfLocalHeadsStaysBounded) {
  auto sequence = Make(KvDtype::kFloat32, 5000);
  sequence->SetFoldRule(kRule);
  const auto keys = RandomRows(5000, 17);
  size_t at_1000 = 0;
  for (int token = 0; token < 5000; ++token) {
    ASSERT_TRUE(
        sequence->Append(0, &keys[token * kRow], &keys[token * kRow], 1).ok());
    ASSERT_TRUE(sequence->FoldBefore(0, kRule.VisibleBegin(token)).ok());
    sequence->EndStep(1);
    if (token == 1000) {
      at_1000 = sequence->PrivateBytes();
    }
  }
  // Only the retrieval head, half of the heads, may grow: by 4,000 tokens.
  const size_t growth = sequence->PrivateBytes() - at_1000;
  const size_t tile = sequence->options().tile.Bytes();
  EXPECT_LE(growth, 64 * tile);
}

TEST_F(KvSequenceTest, RefusesToGrowBeyondItsLimit) {
  auto sequence = Make(KvDtype::kFloat32, 10);
  const auto keys = RandomRows(11, 18);
  EXPECT_EQ(sequence->Append(0, keys.data(), keys.data(), 11).code(),
            absl::StatusCode::kOutOfRange);
}

TEST(FoldRuleTest, ShowsWholeBlocksFromTheWindowAndSlackOn) {
  const FoldRule rule = {
      .window_begin = 960, .window = 256, .slack = 256, .sinks = 4};
  EXPECT_EQ(rule.VisibleBegin(1216), 960);
  EXPECT_EQ(rule.VisibleBegin(1216 + 256 + 63), 960);
  EXPECT_EQ(rule.VisibleBegin(1216 + 256 + 64), 1024);
}

TEST(FoldRuleTest, NextChangeIsTheFirstPositionThatSeesLess) {
  for (const int64_t slack : {0, 64, 256}) {
    const FoldRule rule = {
        .window_begin = 128, .window = 64, .slack = slack, .sinks = 4};
    for (int64_t position = 192; position < 1500; ++position) {
      const int64_t next = rule.NextChange(position);
      ASSERT_GT(next, position);
      EXPECT_EQ(rule.VisibleBegin(next - 1), rule.VisibleBegin(position));
      EXPECT_GT(rule.VisibleBegin(next), rule.VisibleBegin(position));
    }
  }
}

}  // namespace
}  // namespace winnow
