#pragma once

#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "gpu/base/counter_random.h"
#include "tests/services/pipeline_fixture.h"

namespace winnow {

inline std::vector<int32_t> RandomIds(size_t count, uint64_t seed) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int32_t>(3 + RandomAt(seed, i) % 500);
  }
  return ids;
}

inline PrefillRequest PrefillOf(std::vector<int32_t> ids,
                                std::string_view policy,
                                int64_t compact_at = 0) {
  const int64_t length = std::ssize(ids);
  return {.ids = std::move(ids),
          .compact_at = compact_at > 0 ? compact_at : length,
          .policy = ParsePolicy(policy).value(),
          .sampling = {},
          .forced_first = std::nullopt};
}

// `steps` tokens after a prefill, without a stop.
inline DecodeRequest DecodeOf(const PrefillResult& prefilled, int64_t steps) {
  return {.manifest = prefilled.manifest,
          .first_token = prefilled.first.id,
          .max_tokens = steps,
          .sampling = {},
          .ignore_eos = true,
          .forced = {}};
}

inline bool TakeAll(const TokenChoice&) { return true; }

// Waits until `condition` holds; fails the test after a minute.
template <typename Condition>
void WaitUntil(Condition condition) {
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "waited in vain";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// The numbers of float32 mode, whatever the order of its additions.
inline void ExpectSameTokens(const std::vector<TokenChoice>& got,
                             const std::vector<TokenChoice>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].id, want[i].id) << "token " << i;
    ASSERT_NEAR(got[i].log_probability, want[i].log_probability, 1e-4)
        << "token " << i;
  }
}

// A tiny model whose prefill and decode share one backend and one store.
class TinyServing : public testing::Test {
 protected:
  TinyServing()
      : store_(MakeStore(size_t{64} << 20)), node_(MakeNode("llama")) {}

  std::unique_ptr<Node> MakeNode(const char* name) {
    const std::string path = std::string(WINNOW_GOLDEN_DIR) + "/tiny/" + name;
    const auto model = LoadModel(path).value();
    return std::make_unique<Node>(
        path, *store_,
        ProfileOf(model->config(), {true, false, false, true, false, true}),
        Numerics::kFloat32, KvDtype::kFloat32);
  }

  void UseDecode(DecodeOptions options) {
    options.gate = &node_->gate;
    node_->decode = DecodePipeline::Create(*node_->backend, *node_->model,
                                           node_->identity, *store_, options)
                        .value();
  }
  void UsePrefill(PrefillOptions options) {
    options.gate = &node_->gate;
    options.dtype = KvDtype::kFloat32;
    node_->prefill = PrefillPipeline::Create(*node_->backend,
                                             {.model = node_->model.get(),
                                              .profile = &node_->profile,
                                              .identity = node_->identity},
                                             *store_, options)
                         .value();
  }

  PrefillResult Prefill(const PrefillRequest& request) {
    return node_->prefill->Run(request, {}).value();
  }
  std::vector<TokenChoice> Decode(const DecodeRequest& request) {
    return node_->decode->Run(request, {}, TakeAll).value().tokens;
  }

  void RemoveAll() {
    std::vector<SegmentKey> keys;
    const std::vector<SegmentSpec> segments = store_->List({}, 10000).value();
    for (const SegmentSpec& segment : segments) {
      keys.push_back(segment.key);
    }
    if (!keys.empty()) {
      ASSERT_TRUE(store_->Remove(keys).ok());
    }
  }

  void ExpectNothingLeftBehind() {
    const StoreStats stats = store_->GetStats().value();
    EXPECT_EQ(stats.leases, 0u);
    EXPECT_EQ(stats.reserved_bytes, 0u);
    EXPECT_EQ(stats.writes_in_flight, 0u);
    const DecodeCounts decode = node_->decode->Snapshot();
    EXPECT_EQ(decode.running, 0);
    EXPECT_EQ(decode.queued, 0);
    EXPECT_EQ(decode.reserved_bytes, 0u);
    const Admission::Counts prefill = node_->prefill->Snapshot();
    EXPECT_EQ(prefill.running, 0);
    EXPECT_EQ(prefill.queued, 0);
    EXPECT_FALSE(node_->gate.decode_active());
  }

  std::unique_ptr<KvStore> store_;
  std::unique_ptr<Node> node_;
};

}  // namespace winnow
