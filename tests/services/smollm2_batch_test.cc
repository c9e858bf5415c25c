// A batch on a real model, in both numerics.

#include <latch>
#include <thread>

#include "gtest/gtest.h"

#include "tests/gpu/smollm2.h"
#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

// Tokens of sequences one after the other, and of all of them at once.
struct Runs {
  std::vector<std::vector<TokenChoice>> alone;
  std::vector<std::vector<TokenChoice>> together;
  DecodeCounts counts;  // after the second
};

class SmolLm2BatchTest : public testing::Test {
 protected:
  static constexpr int kSequences = 4;

  static DecodeRequest Start(Node& node, int i) {
    const auto prefilled = node.prefill->Run(
        PrefillOf(RandomIds(80 + 90 * i, i),
                  i % 2 == 0 ? "full" : "razor,window=64,slack=0,min_length=0"),
        {});
    return DecodeOf(prefilled.value(), 16 + 4 * i);
  }

  static Runs Run(Numerics numerics, KvDtype dtype) {
    const auto store = MakeStore(size_t{256} << 20);
    const auto model = LoadModel(FetchedModelPath()).value();
    std::vector<bool> retrieval(90, false);
    for (size_t i = 0; i < retrieval.size(); i += 4) {
      retrieval[i] = true;
    }
    Node node(FetchedModelPath(), *store, ProfileOf(model->config(), retrieval),
              numerics, dtype);
    Runs runs;
    for (int i = 0; i < kSequences; ++i) {
      runs.alone.push_back(
          node.decode->Run(Start(node, i), {}, TakeAll).value().tokens);
    }
    runs.together.resize(kSequences);
    std::latch all(kSequences);
    std::vector<std::thread> threads;
    for (int i = 0; i < kSequences; ++i) {
      threads.emplace_back([&, i] {
        bool first = true;
        const auto sink = [&](const TokenChoice&) {
          if (first) {
            first = false;
            all.arrive_and_wait();
          }
          return true;
        };
        runs.together[i] =
            node.decode->Run(Start(node, i), {}, sink).value().tokens;
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    runs.counts = node.decode->Snapshot();
    return runs;
  }
};

TEST_F(SmolLm2BatchTest, Float32GivesTheSameTokensInABatch) {
  const Runs runs = Run(Numerics::kFloat32, KvDtype::kFloat32);
  for (int i = 0; i < kSequences; ++i) {
    SCOPED_TRACE(i);
    ExpectSameTokens(runs.together[i], runs.alone[i]);
  }
  EXPECT_LT(runs.counts.steps, runs.counts.step_tokens);
}

// Up to 14 tokens take the integer kernels, whose rows do not depend on one
// another, and attention splits a row by its own length alone.
TEST_F(SmolLm2BatchTest, FastModeGivesTheSameBitsInASmallBatch) {
  const Runs runs = Run(Numerics::kFast, KvDtype::kBfloat16);
  for (int i = 0; i < kSequences; ++i) {
    ASSERT_EQ(runs.together[i].size(), runs.alone[i].size());
    for (size_t token = 0; token < runs.alone[i].size(); ++token) {
      EXPECT_EQ(runs.together[i][token].id, runs.alone[i][token].id);
      EXPECT_EQ(runs.together[i][token].log_probability,
                runs.alone[i][token].log_probability)
          << "sequence " << i << ", token " << token;
    }
  }
  EXPECT_LT(runs.counts.steps, runs.counts.step_tokens);
}

}  // namespace
}  // namespace winnow
