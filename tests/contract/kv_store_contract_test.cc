// The contract of KvStore, claims 1 to 3: bytes and writes.  Claims 4 and 5
// are in kv_store_lease_contract_test.cc, claim 6 in
// kv_store_eviction_contract_test.cc.  The claims are numbered in
// cache_store/README.md; every implementation passes all of them
// (kv_store_fixture.h).

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

using testing::ElementsAre;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KvStoreContractTest);

// --- Claim 1: the exact bytes, or a miss with a reason.

TEST_P(KvStoreContractTest, Claim1_ReadReturnsTheBytesWrittenUnderTheKey) {
  const Lease lease = WriteLeased(1, 3);
  for (const uint32_t number : {1, 2, 3}) {
    const ReadResult read = Read(lease.id, number);
    ASSERT_EQ(read.miss, MissReason::kNone);
    EXPECT_TRUE(IsTestSegment(TestKey(number), read.view.bytes));
  }
}

TEST_P(KvStoreContractTest, Claim1_AKeyThatWasNeverWrittenIsAbsent) {
  WriteUnleased(1, 1);
  EXPECT_EQ(ProbeOne(2), MissReason::kAbsent);
  EXPECT_THAT(Acquire({1, 2}).misses,
              ElementsAre(MissReason::kNone, MissReason::kAbsent));
}

TEST_P(KvStoreContractTest, Claim1_AnEvictedKeyIsEvictedWhileRemembered) {
  WriteUnleased(1, kTestSegments);
  WriteUnleased(101, 101);  // takes the place of 1
  EXPECT_EQ(ProbeOne(1), MissReason::kEvicted);
  WriteUnleased(102, 102 + kTestGhosts - 1);
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent) << "the list is bounded";
  EXPECT_EQ(ProbeOne(2), MissReason::kEvicted);
}

TEST_P(KvStoreContractTest, Claim1_AReadUnderAnEndedLeaseIsExpired) {
  const Lease lease = WriteLeased(1, 1);
  ASSERT_TRUE(store().Release(lease.id).ok());
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
}

TEST_P(KvStoreContractTest, Claim1_AReadUnderALeaseThatNeverWasIsExpired) {
  WriteUnleased(1, 1);
  EXPECT_EQ(Read(0, 1).miss, MissReason::kExpired);
  EXPECT_EQ(Read(12345, 1).miss, MissReason::kExpired);
}

TEST_P(KvStoreContractTest, Claim1_AReadOfAKeyOutsideTheLeaseIsAbsent) {
  WriteUnleased(2, 2);
  const Lease lease = WriteLeased(1, 1);
  EXPECT_EQ(Read(lease.id, 2).miss, MissReason::kAbsent);
}

TEST_P(KvStoreContractTest, Claim1_BytesThatFailTheirCheckAreCorruptAndGone) {
  const Lease lease = WriteLeased(1, 2);
  Corrupt(1);
  const ReadResult read = Read(lease.id, 1);
  EXPECT_EQ(read.miss, MissReason::kCorrupt);
  EXPECT_TRUE(read.view.bytes.empty());
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kCorrupt);
  EXPECT_EQ(Read(lease.id, 2).miss, MissReason::kNone);
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent);
  EXPECT_EQ(Stats().integrity_failures, 1);
}

TEST_P(KvStoreContractTest, Claim1_ACorruptSegmentCanBeWrittenAgain) {
  const Lease old_lease = WriteLeased(1, 1);
  Corrupt(1);
  EXPECT_EQ(Read(old_lease.id, 1).miss, MissReason::kCorrupt);
  const Lease lease = WriteLeased(1, 1);
  const ReadResult read = Read(lease.id, 1);
  ASSERT_EQ(read.miss, MissReason::kNone);
  EXPECT_TRUE(IsTestSegment(TestKey(1), read.view.bytes));
  EXPECT_EQ(Read(old_lease.id, 1).miss, MissReason::kCorrupt);
}

// --- Claim 2: a context is written whole or not at all.

TEST_P(KvStoreContractTest, Claim2_AWriteReservesItsBytesFirst) {
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  EXPECT_EQ(Stats().reserved_bytes, 2 * kTestSegmentBytes);
  EXPECT_EQ(Stats().writes_in_flight, 1);
  EXPECT_EQ(Stats().used_bytes, 0);
}

TEST_P(KvStoreContractTest, Claim2_NothingIsVisibleBeforeCommit) {
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
  ASSERT_TRUE(WriteTestSegment(*writer, 1, TestKey(2)).ok());
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent);
  EXPECT_FALSE(Acquire({1}).complete());
  EXPECT_EQ(Stats().segments, 0);
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(ProbeOne(1), MissReason::kNone);
  EXPECT_EQ(ProbeOne(2), MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim2_CommitReturnsALeaseOverAllSegments) {
  WriteUnleased(1, 1);
  const Lease lease = WriteLeased(1, 3);
  EXPECT_NE(lease.id, 0);
  EXPECT_EQ(lease.ttl, kTestLease);
  EXPECT_FALSE(
      WriteTestContext(
          store(), {TestSpec(101), TestSpec(102), TestSpec(103), TestSpec(104),
                    TestSpec(105), TestSpec(106), TestSpec(107), TestSpec(108),
                    TestSpec(109), TestSpec(110), TestSpec(111), TestSpec(112),
                    TestSpec(113), TestSpec(114)})
          .ok())
      << "13 segments are left beside the three of the lease";
  for (const uint32_t number : {1, 2, 3}) {
    EXPECT_EQ(Read(lease.id, number).miss, MissReason::kNone);
  }
}

TEST_P(KvStoreContractTest, Claim2_AnAbandonedWriteLeavesNothing) {
  {
    const auto writer =
        store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
    ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
    ASSERT_TRUE(writer->Allocate(1).ok());
  }
  EXPECT_EQ(Stats().reserved_bytes, 0);
  EXPECT_EQ(Stats().writes_in_flight, 0);
  EXPECT_EQ(Stats().used_bytes, 0);
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent);
  EXPECT_TRUE(WriteTestContext(store(), {TestSpec(1)}).ok());
}

TEST_P(KvStoreContractTest, Claim2_BytesThatFailTheirCheckFailTheWrite) {
  {
    const auto writer =
        store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
    ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
    const std::span<std::byte> memory = writer->Allocate(1).value();
    FillTestSegment(TestKey(2), memory);
    memory[kTestSegmentBytes - 1] ^= std::byte{1};
    EXPECT_EQ(writer->Seal(1).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(writer->Commit().status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent);
  EXPECT_EQ(Stats().reserved_bytes, 0);
  EXPECT_EQ(Stats().integrity_failures, 1);
}

TEST_P(KvStoreContractTest, Claim2_BytesOfAnotherKeyFailTheWrite) {
  const auto writer = store().BeginWrite({TestSpec(1)}, kTestLease).value();
  FillTestSegment(TestKey(2), writer->Allocate(0).value());
  EXPECT_EQ(writer->Seal(0).code(), absl::StatusCode::kDataLoss);
}

TEST_P(KvStoreContractTest, Claim2_CommitWantsEverySegmentSealed) {
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
  EXPECT_EQ(writer->Commit().status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(WriteTestSegment(*writer, 1, TestKey(2)).ok());
  EXPECT_TRUE(writer->Commit().ok()) << "nothing was lost by asking early";
  EXPECT_EQ(writer->Commit().status().code(),
            absl::StatusCode::kFailedPrecondition)
      << "once";
}

TEST_P(KvStoreContractTest, Claim2_ASegmentIsAllocatedAndSealedOnce) {
  const auto writer = store().BeginWrite({TestSpec(1)}, kTestLease).value();
  EXPECT_EQ(writer->Seal(0).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer->Allocate(1).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
  EXPECT_EQ(writer->Allocate(0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer->Seal(0).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(KvStoreContractTest, Claim2_AWriteThatMakesNoSenseIsRefused) {
  SegmentSpec empty = TestSpec(1);
  empty.bytes = 0;
  SegmentSpec huge = TestSpec(1);
  huge.bytes = kMaxSegmentBytes + 1;
  std::vector<SegmentSpec> many;
  for (uint32_t i = 0; i <= kTestMaxSegmentsPerWrite; ++i) {
    many.push_back(TestSpec(i));
  }
  const std::vector<SegmentSpec> refused[] = {
      {}, {empty}, {huge}, {TestSpec(1), TestSpec(1)}, many};
  for (const std::vector<SegmentSpec>& specs : refused) {
    EXPECT_EQ(store().BeginWrite(specs, kTestLease).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(
      store().BeginWrite({TestSpec(1)}, absl::ZeroDuration()).status().code(),
      absl::StatusCode::kInvalidArgument);
}

// --- Claim 3: segments are immutable, the first commit wins.

TEST_P(KvStoreContractTest, Claim3_ASecondWriteStoresNothing) {
  WriteUnleased(1, 2);
  const StoreStats before = Stats();
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  EXPECT_EQ(Stats().reserved_bytes, 0);
  EXPECT_TRUE(writer->Allocate(0).value().empty());
  EXPECT_TRUE(writer->Allocate(1).value().empty());
  EXPECT_EQ(writer->Seal(0).code(), absl::StatusCode::kFailedPrecondition);
  const Lease lease = writer->Commit().value();
  EXPECT_EQ(Stats().used_bytes, before.used_bytes);
  EXPECT_EQ(Stats().written_bytes, before.written_bytes);
  EXPECT_EQ(Stats().duplicate_writes, 2);
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim3_ASecondWriteCountsAsATouch) {
  WriteUnleased(1, kTestSegments);
  WriteUnleased(1, 1);
  WriteUnleased(101, 101);
  EXPECT_EQ(ProbeOne(1), MissReason::kNone);
  EXPECT_EQ(ProbeOne(2), MissReason::kEvicted);
}

TEST_P(KvStoreContractTest, Claim3_OfTwoWritersTheFirstCommitWins) {
  const auto first = store().BeginWrite({TestSpec(1)}, kTestLease).value();
  const auto second = store().BeginWrite({TestSpec(1)}, kTestLease).value();
  ASSERT_TRUE(WriteTestSegment(*second, 0, TestKey(1)).ok());
  ASSERT_TRUE(WriteTestSegment(*first, 0, TestKey(1)).ok());
  const Lease winner = second->Commit().value();
  const Lease loser = first->Commit().value();
  EXPECT_NE(winner.id, loser.id);
  EXPECT_EQ(Stats().segments, 1);
  EXPECT_EQ(Stats().used_bytes, kTestSegmentBytes);
  EXPECT_EQ(Stats().reserved_bytes, 0);
  EXPECT_EQ(Stats().duplicate_writes, 1);
  ASSERT_TRUE(store().Release(winner.id).ok());
  EXPECT_EQ(Read(loser.id, 1).miss, MissReason::kNone) << "it pins the winner";
}

TEST_P(KvStoreContractTest, Claim3_APresentSegmentIsKeptForItsWriter) {
  WriteUnleased(1, 1);
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  WriteUnleased(101, 114);  // all that is left beside 1 and 2
  WriteUnleased(201, 214);
  ASSERT_TRUE(WriteTestSegment(*writer, 1, TestKey(2)).ok());
  const Lease lease = writer->Commit().value();
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim3_AWriteIsAbortedIfAPresentSegmentIsRemoved) {
  WriteUnleased(1, 1);
  const auto writer =
      store().BeginWrite({TestSpec(1), TestSpec(2)}, kTestLease).value();
  EXPECT_TRUE(writer->Allocate(0).value().empty());
  ASSERT_EQ(store().Remove(Keys({1})).value(), 1);
  ASSERT_TRUE(WriteTestSegment(*writer, 1, TestKey(2)).ok());
  EXPECT_EQ(writer->Commit().status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ProbeOne(2), MissReason::kAbsent);
}

TEST_P(KvStoreContractTest, Claim3_APresentKeyOfAnotherSizeIsRefused) {
  WriteUnleased(1, 1);
  SegmentSpec spec = TestSpec(1);
  spec.bytes += 256;
  EXPECT_EQ(store().BeginWrite({spec}, kTestLease).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
