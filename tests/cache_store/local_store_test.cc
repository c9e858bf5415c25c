// What the local store promises beyond the contract of KvStore, which is
// tested in tests/contract.
#include "cache_store/store/local_store.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

using testing::HasSubstr;

SegmentShape ShapeOfHeads(uint32_t num_heads) {
  SegmentShape shape = kTestShape;
  shape.num_heads = num_heads;
  return shape;
}

// Writes one segment of `num_heads` heads, or touches it, and lets its lease
// go.
absl::Status WriteHeads(KvStore& store, uint32_t number, uint32_t num_heads) {
  const SegmentShape shape = ShapeOfHeads(num_heads);
  SegmentSpec spec = TestSpec(number);
  spec.bytes = shape.SegmentBytes();
  auto writer = store.BeginWrite({spec}, kTestLease);
  if (!writer.ok()) {
    return writer.status();
  }
  const std::span<std::byte> memory = (*writer)->Allocate(0).value();
  if (!memory.empty()) {  // else the store has it: a touch
    SealSegment({.key = spec.key, .shape = shape}, memory);
    EXPECT_TRUE((*writer)->Seal(0).ok());
  }
  return store.Release((*writer)->Commit().value().id);
}

class LocalStoreTest : public testing::Test {
 protected:
  std::unique_ptr<LocalStore> MakeStore(LocalStoreOptions options) {
    return LocalStore::Create(options).value();
  }
  LocalStoreOptions Options() { return TestStoreOptions(clock_); }

  static ReadResult AcquireAndRead(LocalStore& store, uint32_t number) {
    const std::vector<SegmentKey> key = {TestKey(number)};
    const LeaseHandle lease(store,
                            store.Acquire(key, kTestLease).value().lease.id);
    return store.Read(lease.id(), TestKey(number)).value();
  }
  static MissReason ProbeOne(LocalStore& store, uint32_t number) {
    return store.Probe(std::vector{TestKey(number)}).value().segments[0];
  }

  FakeClock clock_;
};

TEST_F(LocalStoreTest, RefusesOptionsOutOfRange) {
  const auto code = [&](auto change) {
    LocalStoreOptions options = Options();
    change(options);
    return LocalStore::Create(options).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](auto& o) { o.capacity_bytes = 0; }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.capacity_bytes = 1000; }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.max_lease = absl::ZeroDuration(); }),
            kInvalid);
  EXPECT_EQ(code([](auto& o) { o.max_leases = 0; }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.max_segments = 0; }), kInvalid);
  EXPECT_EQ(code([](auto& o) { o.max_segments_per_write = 0; }), kInvalid);
}

TEST_F(LocalStoreTest, ReadsWhereTheWriterWrote) {
  const auto store = MakeStore(Options());
  auto writer = store->BeginWrite({TestSpec(1)}, kTestLease).value();
  const std::span<std::byte> memory = writer->Allocate(0).value();
  FillTestSegment(TestKey(1), memory);
  ASSERT_TRUE(writer->Seal(0).ok());
  const Lease lease = writer->Commit().value();
  const ReadResult read = store->Read(lease.id, TestKey(1)).value();
  EXPECT_EQ(read.view.bytes.data(), memory.data());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kArenaAlignment, 0);
}

TEST_F(LocalStoreTest, AViewKeepsItsSegmentFromEviction) {
  const auto store = MakeStore(Options());
  ASSERT_TRUE(WriteHeads(*store, 1, 1).ok());
  ReadResult read = AcquireAndRead(*store, 1);
  EXPECT_EQ(store->GetStats().value().leases, 0);
  for (uint32_t i = 0; i < 2 * kTestSegments; ++i) {
    ASSERT_TRUE(WriteHeads(*store, 100 + i, 1).ok());
  }
  EXPECT_EQ(ProbeOne(*store, 1), MissReason::kNone);
  read = {};
  for (uint32_t i = 0; i < kTestSegments; ++i) {
    ASSERT_TRUE(WriteHeads(*store, 200 + i, 1).ok());
  }
  EXPECT_NE(ProbeOne(*store, 1), MissReason::kNone);
}

TEST_F(LocalStoreTest, ARemovedSegmentIsFreedWithItsLastView) {
  const auto store = MakeStore(Options());
  ASSERT_TRUE(WriteHeads(*store, 1, 1).ok());
  ReadResult read = AcquireAndRead(*store, 1);
  SegmentView copy = read.view;
  ASSERT_EQ(store->Remove(std::vector{TestKey(1)}).value(), 1);
  read = {};
  EXPECT_EQ(store->GetStats().value().used_bytes, kTestSegmentBytes);
  copy = {};
  EXPECT_EQ(store->GetStats().value().used_bytes, 0);
}

TEST_F(LocalStoreTest, ACorruptSegmentIsFreedWithItsLastLease) {
  const auto store = MakeStore(Options());
  const Lease lease = WriteTestContext(*store, {TestSpec(1)}).value();
  {
    const ReadResult read = store->Read(lease.id, TestKey(1)).value();
    const_cast<std::byte&>(read.view.bytes[300]) ^= std::byte{1};
  }
  EXPECT_EQ(store->Read(lease.id, TestKey(1)).value().miss,
            MissReason::kCorrupt);
  EXPECT_EQ(store->GetStats().value().used_bytes, kTestSegmentBytes);
  ASSERT_TRUE(store->Release(lease.id).ok());
  EXPECT_EQ(store->GetStats().value().used_bytes, 0);
}

TEST_F(LocalStoreTest, VerifiesOnEachReadOnlyIfAskedTo) {
  LocalStoreOptions options = Options();
  options.verify_on_read = false;
  const auto store = MakeStore(options);
  const Lease lease = WriteTestContext(*store, {TestSpec(1)}).value();
  const ReadResult read = store->Read(lease.id, TestKey(1)).value();
  const_cast<std::byte&>(read.view.bytes[300]) ^= std::byte{1};
  EXPECT_EQ(store->Read(lease.id, TestKey(1)).value().miss, MissReason::kNone);
}

TEST_F(LocalStoreTest, AWriterYieldsToAnotherCommitAtAllocate) {
  const auto store = MakeStore(Options());
  auto late = store->BeginWrite({TestSpec(1)}, kTestLease).value();
  ASSERT_TRUE(WriteTestContext(*store, {TestSpec(1)}).ok());
  EXPECT_EQ(store->GetStats().value().reserved_bytes, kTestSegmentBytes);
  EXPECT_TRUE(late->Allocate(0).value().empty());
  EXPECT_EQ(store->GetStats().value().reserved_bytes, 0);
  EXPECT_TRUE(late->Commit().ok());
}

TEST_F(LocalStoreTest, EvictsOnForAPieceThatIsLargeEnough) {
  LocalStoreOptions options = Options();
  options.capacity_bytes = 3 * kTestSegmentBytes;
  const auto store = MakeStore(options);
  for (const uint32_t number : {2, 1, 3}) {  // 1 lies between the others
    ASSERT_TRUE(WriteHeads(*store, number, 1).ok());
  }
  ASSERT_TRUE(WriteHeads(*store, 1, 1).ok());  // a touch
  ASSERT_TRUE(WriteHeads(*store, 3, 1).ok());  // oldest first: 2, 1, 3
  ASSERT_TRUE(WriteHeads(*store, 10, 2).ok());
  EXPECT_EQ(ProbeOne(*store, 2), MissReason::kEvicted);
  EXPECT_EQ(ProbeOne(*store, 1), MissReason::kEvicted);
  EXPECT_EQ(ProbeOne(*store, 3), MissReason::kNone);
}

TEST_F(LocalStoreTest, SaysThatNoFreePieceIsLargeEnough) {
  LocalStoreOptions options = Options();
  options.capacity_bytes = 3 * kTestSegmentBytes;
  const auto store = MakeStore(options);
  ASSERT_TRUE(WriteHeads(*store, 1, 1).ok());
  const Lease between = WriteTestContext(*store, {TestSpec(2)}).value();
  ASSERT_TRUE(WriteHeads(*store, 3, 1).ok());
  const absl::Status refused = WriteHeads(*store, 10, 2);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("in one piece"));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("retry after a lease ends"));
  EXPECT_EQ(store->GetStats().value().reserved_bytes, 0);
  EXPECT_EQ(store->GetStats().value().writes_in_flight, 0);
  ASSERT_TRUE(store->Release(between.id).ok());
  EXPECT_TRUE(WriteHeads(*store, 10, 2).ok());
}

TEST_F(LocalStoreTest, AReservationHoldsWhateverHappensMeanwhile) {
  LocalStoreOptions options = Options();
  options.capacity_bytes = 4 * kTestSegmentBytes;
  const auto store = MakeStore(options);
  const std::vector<SegmentSpec> specs = {TestSpec(1), TestSpec(2),
                                          TestSpec(3)};
  auto writer = store->BeginWrite(specs, kTestLease).value();
  for (uint32_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(WriteHeads(*store, 100 + i, 1).ok());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_TRUE(WriteTestSegment(*writer, i, specs[i].key).ok());
  }
  EXPECT_TRUE(writer->Commit().ok());
}

TEST_F(LocalStoreTest, TheNumberOfSegmentsIsLimitedToo) {
  LocalStoreOptions options = Options();
  options.max_segments = 2;
  const auto store = MakeStore(options);
  for (uint32_t number = 1; number <= 3; ++number) {
    ASSERT_TRUE(WriteHeads(*store, number, 1).ok());
  }
  EXPECT_EQ(store->GetStats().value().segments, 2);
  EXPECT_EQ(ProbeOne(*store, 1), MissReason::kEvicted);
  const Lease lease =
      WriteTestContext(*store, {TestSpec(2), TestSpec(3)}).value();
  const absl::Status refused = WriteHeads(*store, 4, 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("2 of 2 segments"));
  ASSERT_TRUE(store->Release(lease.id).ok());
  EXPECT_TRUE(WriteHeads(*store, 4, 1).ok());
}

TEST_F(LocalStoreTest, CountsWholeUnitsOfTheArena) {
  const auto store = MakeStore(Options());
  SegmentSpec odd = TestSpec(1);
  odd.bytes = 257;
  const auto writer = store->BeginWrite({odd}, kTestLease).value();
  EXPECT_EQ(store->GetStats().value().reserved_bytes, 512);
  EXPECT_EQ(writer->Allocate(0).value().size(), 257);
}

TEST_F(LocalStoreTest, RemovedMemoryGoesBackToTheSystem) {
  LocalStoreOptions options = Options();
  options.capacity_bytes = size_t{64} << 20;
  const auto store = MakeStore(options);
  ASSERT_TRUE(WriteHeads(*store, 1, 1024).ok());  // 4 MiB
  const std::byte* const memory = AcquireAndRead(*store, 1).view.bytes.data();
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto resident = [&] {
    unsigned char state = 0;
    const std::byte* address = memory + (size_t{1} << 20);
    address -= reinterpret_cast<uintptr_t>(address) % page;
    EXPECT_EQ(mincore(const_cast<std::byte*>(address), page, &state), 0);
    return (state & 1) != 0;
  };
  EXPECT_TRUE(resident());
  ASSERT_EQ(store->Remove(std::vector{TestKey(1)}).value(), 1);
  EXPECT_FALSE(resident());
}

TEST(EvictionRankTest, OrdersAnchorsWindowsAndBlocksFromLateToEarly) {
  const std::vector<uint32_t> ranks = {
      EvictionRank(SegmentKind::kRetrieval, 0),
      EvictionRank(SegmentKind::kRetrieval, 1),
      EvictionRank(SegmentKind::kRetrieval, UINT32_MAX),
      EvictionRank(SegmentKind::kWindow, 0),
      EvictionRank(SegmentKind::kWindow, UINT32_MAX),
      EvictionRank(SegmentKind::kAnchor, 0),
      EvictionRank(SegmentKind::kTail, 1),
      EvictionRank(SegmentKind::kTokens, 2),
  };
  EXPECT_TRUE(std::ranges::is_sorted(ranks));
  EXPECT_EQ(std::ranges::adjacent_find(ranks), ranks.end());
}

}  // namespace
}  // namespace winnow
