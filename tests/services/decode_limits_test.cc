// What decode reserves, and what happens when there is no more.

#include <atomic>
#include <latch>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/retry_hint.h"
#include "services/decode/sequence_memory.h"
#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

class DecodePipelineLimitsTest : public TinyServing {
 protected:
  DecodeRequest Request(uint64_t seed, int64_t steps = 20) {
    return DecodeOf(Prefill(PrefillOf(RandomIds(70, seed), "full")), steps);
  }
};

// A client that holds its place in the middle of its stream.
class HeldClient {
 public:
  HeldClient(DecodePipeline& decode, DecodeRequest request)
      : thread_([this, &decode, request = std::move(request)] {
          const auto result =
              decode.Run(request, {}, [this](const TokenChoice&) {
                if (!held_.try_wait()) {
                  held_.count_down();
                  release_.wait();
                }
                return true;
              });
          EXPECT_TRUE(result.ok()) << result.status();
        }) {
    held_.wait();
  }
  ~HeldClient() { Release(); }
  void Release() {
    if (thread_.joinable()) {
      release_.count_down();
      thread_.join();
    }
  }

 private:
  std::latch held_{1};
  std::latch release_{1};
  std::thread thread_;
};

TEST_F(DecodePipelineLimitsTest, FullQueueIsRefusedWithAHint) {
  UseDecode({.max_sequences = 1, .max_queue = 1});
  HeldClient running(*node_->decode, Request(1));
  std::thread queued([&] { EXPECT_EQ(Decode(Request(2)).size(), 20u); });
  WaitUntil([&] { return node_->decode->Snapshot().queued == 1; });
  const auto refused = node_->decode->Run(Request(3), {}, TakeAll);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryHint(refused.status()).has_value());
  running.Release();
  queued.join();
  ExpectNothingLeftBehind();
}

TEST_F(DecodePipelineLimitsTest, WaitInTheQueueEndsWithTheCallsDeadline) {
  UseDecode({.max_sequences = 1});
  HeldClient running(*node_->decode, Request(1));
  const DecodeRequest late = Request(2);
  Call call;
  call.deadline = Clock::Real().Monotonic() + absl::Milliseconds(30);
  EXPECT_EQ(node_->decode->Run(late, call, TakeAll).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  running.Release();
  ExpectNothingLeftBehind();
}

TEST_F(DecodePipelineLimitsTest, MemoryIsReservedBeforeASequenceIsLoaded) {
  const DecodeRequest request = Request(1);
  const KvTileShape tile = {.head_dim = node_->model->config().head_dim,
                            .dtype = KvDtype::kFloat32};
  const uint64_t needed =
      DecodeMemoryBytes(request.manifest, tile, request.max_tokens);
  UseDecode({.memory_bytes = 2 * needed - 1});
  HeldClient running(*node_->decode, request);
  EXPECT_EQ(node_->decode->Snapshot().reserved_bytes, needed);
  std::thread second([&] { EXPECT_EQ(Decode(Request(2)).size(), 20u); });
  WaitUntil([&] { return node_->decode->Snapshot().queued == 1; });
  running.Release();
  second.join();

  UseDecode({.memory_bytes = needed - 1});
  const auto never = node_->decode->Run(Request(3), {}, TakeAll);
  EXPECT_EQ(never.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(never.status().message()),
              HasSubstr(absl::StrCat(needed - 1)));
  EXPECT_FALSE(RetryHint(never.status()).has_value());
  ExpectNothingLeftBehind();
}

// What is reserved is what a sequence then holds, to the byte.
TEST_F(DecodePipelineLimitsTest, PeakPrivateBytesAreThoseOfTheSequence) {
  const auto transformer =
      Transformer::Create(*node_->backend, *node_->model, 1).value();
  const SharedBackend compute = {.backend = *node_->backend,
                                 .gate = node_->gate,
                                 .kind = ComputeKind::kDecode};
  int folded = 0;
  for (const char* policy : {"full", "razor,window=64,slack=0,min_length=0",
                             "razor,window=64,slack=64,min_length=0",
                             "streaming,window=64,min_length=0"}) {
    for (const auto& [length, compact_at] :
         {std::pair{128, 128}, {150, 150}, {300, 130}, {256, 256}, {1, 1}}) {
      for (const int64_t steps : {0, 1, 63, 64, 200}) {
        const PrefillResult prefilled =
            Prefill(PrefillOf(RandomIds(length, 1), policy, compact_at));
        const LeaseHandle lease(*store_, prefilled.manifest.lease.id);
        const Manifest& manifest = prefilled.manifest;
        const auto loaded =
            LoadSequence(compute, node_->model->config(), manifest, *store_,
                         lease.id(), length + steps);
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        const int32_t id = 5;
        const SequenceChunk chunk = {.sequence = loaded->sequence.get(),
                                     .ids = {&id, 1}};
        for (int64_t step = 0; step < steps; ++step) {
          ASSERT_TRUE(transformer->Forward({&chunk, 1}).ok());
        }
        folded += loaded->sequence->NumFolded(0) > 0 ? 1 : 0;
        EXPECT_EQ(
            PeakPrivateBytes(manifest, loaded->sequence->options().tile, steps),
            loaded->sequence->PrivateBytes())
            << policy << ", " << length << " tokens, " << steps << " steps";
      }
    }
  }
  EXPECT_GT(folded, 10) << "folding was not put to the test";
}

// A backend that is out of memory for buffers of one size, once told to.
class ShortBackend final : public Backend {
 public:
  explicit ShortBackend(Backend& inner) : inner_(inner) {}

  void RefuseBuffersOf(size_t bytes) { refused_ = bytes; }

  std::string_view name() const override { return inner_.name(); }
  absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) override {
    return bytes == refused_
               ? absl::ResourceExhaustedError("no memory for a buffer")
               : inner_.Allocate(bytes);
  }
  size_t ResidentBytes(const WeightView& w) const override {
    return inner_.ResidentBytes(w);
  }
  WeightView MakeResident(const WeightView& w, std::byte* m) override {
    return inner_.MakeResident(w, m);
  }
  absl::Status LinearAll(std::span<const LinearArgs> a) override {
    return inner_.LinearAll(a);
  }
  absl::Status Embed(const EmbedArgs& a) override { return inner_.Embed(a); }
  absl::Status RmsNorm(const RmsNormArgs& a) override {
    return inner_.RmsNorm(a);
  }
  absl::Status Rotary(const RotaryArgs& a) override { return inner_.Rotary(a); }
  absl::Status SiluMul(const SiluMulArgs& a) override {
    return inner_.SiluMul(a);
  }
  absl::Status Attention(const AttentionArgs& a) override {
    return inner_.Attention(a);
  }
  absl::Status AttentionMass(const AttentionMassArgs& a) override {
    return inner_.AttentionMass(a);
  }
  absl::Status Pack(std::span<const PackArgs> a) override {
    return inner_.Pack(a);
  }
  absl::Status Fold(std::span<const FoldArgs> a) override {
    return inner_.Fold(a);
  }
  absl::Status CopySlots(std::span<const CopySlotsArgs> a) override {
    return inner_.CopySlots(a);
  }
  absl::Status TopLogits(const TopLogitsArgs& a) override {
    return inner_.TopLogits(a);
  }

 private:
  void Free(void* /*address*/, size_t /*bytes*/) override {
    FAIL() << "buffers are the inner backend's";
  }
  Backend& inner_;
  std::atomic<size_t> refused_ = 0;
};

TEST_F(DecodePipelineLimitsTest, SequenceThatFindsNoMemoryEndsAlone) {
  constexpr char kRazor[] = "razor,window=64,min_length=0";
  const std::vector<TokenChoice> alone =
      Decode(DecodeOf(Prefill(PrefillOf(RandomIds(70, 2), kRazor)), 300));
  const DecodeRequest unlucky = Request(1, 300);
  const DecodeRequest lucky =
      DecodeOf(Prefill(PrefillOf(RandomIds(70, 2), kRazor)), 300);
  ShortBackend backend(*node_->backend);
  node_->decode =
      DecodePipeline::Create(backend, *node_->model, node_->identity, *store_,
                             {.gate = &node_->gate})
          .value();
  // Under the full policy a block of all heads is one buffer; under razor
  // there are two smaller ones.
  const KvTileShape tile = {.head_dim = node_->model->config().head_dim,
                            .dtype = KvDtype::kFloat32};
  std::latch both(2);
  absl::Status unlucky_status;
  std::thread client([&] {
    int tokens = 0;
    unlucky_status = node_->decode
                         ->Run(unlucky, {},
                               [&](const TokenChoice&) {
                                 if (++tokens == 1) {
                                   backend.RefuseBuffersOf(6 * tile.Bytes());
                                   both.arrive_and_wait();
                                 }
                                 return true;
                               })
                         .status();
  });
  int tokens = 0;
  const auto result = node_->decode->Run(lucky, {}, [&](const TokenChoice&) {
    if (++tokens == 1) {
      both.arrive_and_wait();
    }
    return true;
  });
  client.join();
  EXPECT_EQ(unlucky_status.code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectSameTokens(result->tokens, alone);
  ExpectNothingLeftBehind();
  node_->decode.reset();  // before the backend of this test
}

}  // namespace
}  // namespace winnow
