// RemoteStore against a peer that is slow, wrong or gone.  What it does with
// an honest one: tests/contract/remote_store_contract.cc.

#include "services/common/remote_store.h"

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/server_builder.h>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/frame_codec.h"
#include "services/common/retry_hint.h"
#include "tests/contract/kv_store_fixture.h"
#include "tests/services/store_server.h"

namespace winnow {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// A store that answers reads with what a test wrote down, through generated
// code alone.
class ScriptedStore final : public v1::CacheStoreService::Service {
 public:
  ScriptedStore() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedStore() override { server_->Shutdown(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status Read(grpc::ServerContext* /*context*/,
                    const v1::ReadRequest* /*request*/,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override {
    ++reads;
    for (const v1::ReadResponse& response : script) {
      writer->Write(response);
    }
    return end;
  }
  grpc::Status Probe(grpc::ServerContext* /*context*/,
                     const v1::ProbeRequest* /*request*/,
                     v1::ProbeResponse* /*response*/) override {
    return grpc::Status::OK;  // no answer to any key
  }

  std::vector<v1::ReadResponse> script;
  grpc::Status end;
  int reads = 0;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::ReadResponse Head(uint32_t index, uint64_t bytes) {
  v1::ReadResponse response;
  response.mutable_segment()->set_segment_index(index);
  response.mutable_segment()->set_size_bytes(bytes);
  return response;
}

std::string TestSegmentText(uint32_t number) {
  alignas(64) std::byte segment[1 << 13];
  const std::span<std::byte> bytes(segment, kTestSegmentBytes);
  FillTestSegment(TestKey(number), bytes);
  return {reinterpret_cast<const char*>(segment), bytes.size()};
}

v1::ReadResponse Piece(uint32_t index, const std::string& segment,
                       size_t offset, size_t bytes) {
  v1::ReadResponse response;
  v1::Frame& frame = *response.mutable_frame();
  frame.set_segment_index(index);
  frame.set_offset(offset);
  frame.set_content(segment.substr(offset, bytes));
  frame.set_checksum(
      FrameChecksum({reinterpret_cast<const std::byte*>(frame.content().data()),
                     frame.content().size()}));
  return response;
}

// Three segments in pieces of 1,000 bytes.
std::vector<v1::ReadResponse> ThreeSegments() {
  std::vector<v1::ReadResponse> script;
  for (uint32_t i = 0; i < 3; ++i) {
    const std::string segment = TestSegmentText(i + 1);
    script.push_back(Head(i, segment.size()));
    for (size_t at = 0; at < segment.size(); at += 1000) {
      script.push_back(Piece(i, segment, at, 1000));
    }
  }
  return script;
}

const std::vector<SegmentKey>& ThreeKeys() {
  static const auto& keys =
      *new std::vector<SegmentKey>{TestKey(1), TestKey(2), TestKey(3)};
  return keys;
}

std::vector<MissReason> Misses(const std::vector<ReadResult>& read) {
  std::vector<MissReason> misses;
  for (size_t i = 0; i < read.size(); ++i) {
    misses.push_back(read[i].miss);
    if (read[i].miss == MissReason::kNone) {
      EXPECT_TRUE(IsTestSegment(ThreeKeys()[i], read[i].view.bytes)) << i;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(read[i].view.bytes.data()) % 64, 0);
    } else {
      EXPECT_TRUE(read[i].view.bytes.empty()) << i;
    }
  }
  return misses;
}

constexpr MissReason kHit = MissReason::kNone;
constexpr MissReason kCorrupt = MissReason::kCorrupt;
constexpr MissReason kUnreachable = MissReason::kUnreachable;

TEST(RemoteStoreTest, ReadManyIsOneStream) {
  ScriptedStore peer;
  peer.script = ThreeSegments();
  RemoteStore store(peer.address());
  EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()), Each(kHit));
  EXPECT_EQ(peer.reads, 1);
}

TEST(RemoteStoreTest, ADamagedFrameCostsItsSegmentOnly) {
  ScriptedStore peer;
  peer.script = ThreeSegments();
  std::string* const content =
      peer.script[8].mutable_frame()->mutable_content();
  ASSERT_EQ(peer.script[8].frame().segment_index(), 1);
  (*content)[17] = static_cast<char>((*content)[17] ^ 1);
  RemoteStore store(peer.address());
  EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()),
              ElementsAre(kHit, kCorrupt, kHit));
}

TEST(RemoteStoreTest, ASegmentWithGoodFramesIsVerifiedAsAWhole) {
  ScriptedStore peer;
  std::string segment = TestSegmentText(1);
  segment[1000] = static_cast<char>(segment[1000] ^ 1);
  peer.script = {Head(0, segment.size()), Piece(0, segment, 0, 5000)};
  RemoteStore store(peer.address());
  EXPECT_EQ(store.Read(1, TestKey(1)).value().miss, kCorrupt);
}

TEST(RemoteStoreTest, TheSegmentOfAnotherKeyIsNoAnswer) {
  ScriptedStore peer;
  const std::string segment = TestSegmentText(2);
  peer.script = {Head(0, segment.size()), Piece(0, segment, 0, 5000)};
  RemoteStore store(peer.address());
  const ReadResult read = store.Read(1, TestKey(1)).value();
  EXPECT_EQ(read.miss, MissReason::kIdentity);
  EXPECT_TRUE(read.view.bytes.empty());
}

// Every way in which a stream can leave the order: what came before is used,
// nothing of what comes after.  The segment at which it happens is damaged; of
// the others nothing is known.
TEST(RemoteStoreTest, AStreamOutOfOrderIsNotReadOn) {
  using Script = std::vector<v1::ReadResponse>;
  const std::vector<std::function<void(Script&)>> damages = {
      [](Script& script) { std::swap(script[7], script[8]); },
      [](Script& script) { script.erase(script.begin() + 8); },
      [](Script& script) { script.insert(script.begin() + 8, script[8]); },
      [](Script& script) { std::swap(script[8], script[14]); },
      [](Script& script) { script[8].mutable_frame()->set_offset(1001); },
      [](Script& script) { script[8].mutable_frame()->clear_content(); },
      [](Script& script) { script[6].mutable_segment()->set_size_bytes(1); },
      [](Script& script) {
        script[6].mutable_segment()->set_size_bytes(uint64_t{1} << 60);
      },
      [](Script& script) { script[6].mutable_segment()->set_segment_index(2); },
      [](Script& script) { script.resize(8); },
      [](Script& script) { script.resize(6); },
      [](Script& script) {
        script[8].mutable_frame()->mutable_content()->resize(2 << 20);
      },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    ScriptedStore peer;
    peer.script = ThreeSegments();
    ASSERT_EQ(peer.script.size(), 18);
    ASSERT_TRUE(peer.script[6].has_segment());
    damages[i](peer.script);
    RemoteStore store(peer.address());
    EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()),
                ElementsAre(kHit, kCorrupt, kUnreachable))
        << i;
  }
}

TEST(RemoteStoreTest, MoreThanWasAskedForIsNotTaken) {
  ScriptedStore peer;
  peer.script = ThreeSegments();
  peer.script.push_back(Head(3, kTestSegmentBytes));
  RemoteStore store(peer.address());
  EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()), Each(kHit));
}

TEST(RemoteStoreTest, BytesOfOneReadAreBounded) {
  ScriptedStore peer;
  peer.script = ThreeSegments();
  RemoteStoreOptions options;
  options.max_read_bytes = 2 * kTestSegmentBytes;
  RemoteStore store(peer.address(), options);
  const absl::Status status = store.ReadMany(1, ThreeKeys()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("fewer"));
}

TEST(RemoteStoreTest, HowTheStreamEndsIsWhyTheRestIsMissing) {
  const std::pair<grpc::StatusCode, MissReason> ends[] = {
      {grpc::StatusCode::UNAVAILABLE, kUnreachable},
      {grpc::StatusCode::CANCELLED, kUnreachable},
      {grpc::StatusCode::INTERNAL, kUnreachable},
      {grpc::StatusCode::UNKNOWN, kUnreachable},
      {grpc::StatusCode::DEADLINE_EXCEEDED, MissReason::kTimeout}};
  for (const auto& [code, miss] : ends) {
    ScriptedStore peer;
    peer.script = ThreeSegments();
    peer.script.resize(9);
    peer.end = grpc::Status(code, "as the test says");
    RemoteStore store(peer.address());
    EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()),
                ElementsAre(kHit, miss, miss))
        << code;
  }
  ScriptedStore peer;
  peer.end = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  RemoteStore store(peer.address());
  EXPECT_EQ(store.ReadMany(1, ThreeKeys()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(RemoteStoreTest, AnAnswerThatContradictsTheRequestIsAnError) {
  ScriptedStore peer;
  RemoteStore store(peer.address());
  const absl::Status status = store.Probe(ThreeKeys()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(peer.address()));
}

TEST(RemoteStoreTest, AStoreThatIsNotThereIsNamed) {
  RemoteStore store("unix:/nowhere/winnow.sock");
  const absl::Status statuses[] = {
      store.Probe(ThreeKeys()).status(),
      store.Acquire(ThreeKeys(), kTestLease).status(),
      store.BeginWrite({TestSpec(1)}, kTestLease).status(),
      store.Release(1),
      store.Renew(1, kTestLease).status(),
      store.Remove(ThreeKeys()).status(),
      store.List({}, 1).status(),
      store.GetStats().status(),
  };
  for (const absl::Status& status : statuses) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("the cache store at unix:/nowhere/winnow.sock"));
  }
  EXPECT_THAT(Misses(store.ReadMany(1, ThreeKeys()).value()),
              Each(kUnreachable));
}

TEST(RemoteStoreTest, ItConnectsAgainByItself) {
  const std::string listen =
      "unix:" + testing::TempDir() + "winnow_reconnect.sock";
  SharedFakeClock clock;
  const StoreServerOptions options = {.listen = listen,
                                      .store = TestStoreOptions(clock),
                                      .service = {},
                                      .rpc = {}};
  auto server = std::make_unique<StoreServer>(options);
  RemoteStore store(server->address());
  ASSERT_TRUE(WriteTestContext(store, {TestSpec(1)}).ok());
  server.reset();
  EXPECT_EQ(store.GetStats().status().code(), absl::StatusCode::kUnavailable);
  server = std::make_unique<StoreServer>(options);
  const absl::Time until = absl::Now() + absl::Seconds(10);
  while (!store.GetStats().ok() && absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(WriteTestContext(store, {TestSpec(1)}).ok());
}

TEST(RemoteStoreTest, AWriterThatComputesForLongIsKeptAlive) {
  SharedFakeClock clock;
  StoreServer server(
      {.store = TestStoreOptions(clock),
       .service = {.write_idle_timeout = absl::Milliseconds(600)},
       .rpc = {}});
  RemoteStoreOptions options;
  options.keep_alive = absl::Milliseconds(50);
  RemoteStore store(server.address(), options);
  auto writer = store.BeginWrite({TestSpec(1)}, kTestLease).value();
  absl::SleepFor(absl::Milliseconds(1500));
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
  EXPECT_TRUE(writer->Commit().ok());
}

TEST(RemoteStoreTest, AWriteThatTheStoreEndedFailsWithItsReason) {
  SharedFakeClock clock;
  StoreServer server({.store = TestStoreOptions(clock),
                      .service = {.write_idle_timeout = absl::Milliseconds(50)},
                      .rpc = {}});
  RemoteStore store(server.address());
  auto writer = store.BeginWrite({TestSpec(1)}, kTestLease).value();
  absl::SleepFor(absl::Milliseconds(600));
  absl::Status status = WriteTestSegment(*writer, 0, TestKey(1));
  if (status.ok()) {  // it may have left before the end was seen
    status = writer->Commit().status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_EQ(writer->Commit().status().code(),
            absl::StatusCode::kFailedPrecondition);
  writer.reset();
  EXPECT_EQ(store.GetStats().value().reserved_bytes, 0);
}

TEST(RemoteStoreTest, ALargeSegmentTravelsInManyFrames) {
  SegmentShape shape = kTestShape;
  shape.num_heads = 4096;  // 16 MiB
  SharedFakeClock clock;
  StoreServer server({.store = {.capacity_bytes = 64 << 20, .clock = &clock},
                      .service = {},
                      .rpc = {}});
  RemoteStore store(server.address());
  const SegmentSpec spec = {.key = TestKey(1), .bytes = shape.SegmentBytes()};
  auto writer = store.BeginWrite({spec}, kTestLease).value();
  const std::span<std::byte> memory = writer->Allocate(0).value();
  for (size_t i = kSegmentHeaderBytes; i < memory.size(); ++i) {
    memory[i] = TestByte(TestKey(1), i);
  }
  SealSegment({.key = TestKey(1), .shape = shape}, memory);
  ASSERT_TRUE(writer->Seal(0).ok());
  const Lease lease = writer->Commit().value();
  const ReadResult read = store.Read(lease.id, TestKey(1)).value();
  ASSERT_EQ(read.view.bytes.size(), spec.bytes);
  for (size_t i = kSegmentHeaderBytes; i < spec.bytes; ++i) {
    ASSERT_EQ(read.view.bytes[i], TestByte(TestKey(1), i)) << i;
  }
}

TEST(RemoteStoreTest, ListGoesOnBehindTheServersLargestPage) {
  SharedFakeClock clock;
  StoreServer server({.store = TestStoreOptions(clock),
                      .service = {.max_page = 3},
                      .rpc = {}});
  RemoteStore store(server.address());
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 1; i <= 10; ++i) {
    specs.push_back(TestSpec(i));
  }
  ASSERT_TRUE(WriteTestContext(store, specs).ok());
  EXPECT_EQ(store.List({}, 100).value().size(), 10);
  EXPECT_EQ(store.List({}, 7).value().size(), 7);
  EXPECT_EQ(store.List(TestKey(9), 7).value().size(), 1);
}

TEST(RemoteStoreTest, RefusalsCarryTheirRetryHint) {
  SharedFakeClock clock;
  StoreServer server({.store = TestStoreOptions(clock),
                      .service = {.retry_hint = absl::Milliseconds(1234)},
                      .rpc = {}});
  RemoteStore store(server.address());
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 0; i < kTestSegments; ++i) {
    specs.push_back(TestSpec(i));
  }
  ASSERT_TRUE(WriteTestContext(store, specs).ok());
  specs = {TestSpec(101)};
  const absl::Status full = store.BeginWrite(specs, kTestLease).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryHint(full), absl::Milliseconds(1234));
}

TEST(RemoteStoreTest, AWriteLargerThanTheStoreHasNoRetryHint) {
  SharedFakeClock clock;
  StoreServer server(
      {.store = TestStoreOptions(clock), .service = {}, .rpc = {}});
  RemoteStore store(server.address());
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 0; i <= kTestSegments; ++i) {
    specs.push_back(TestSpec(i));
  }
  const absl::Status refused = store.BeginWrite(specs, kTestLease).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryHint(refused), std::nullopt);
}

}  // namespace
}  // namespace winnow
