// The contract of KvStore, claims 4 and 5: probe, acquire, remove, and how
// leases end.  See kv_store_contract_test.cc.

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

using testing::Each;
using testing::ElementsAre;

// --- Claim 4: probe, acquire, leases and remove.

TEST_P(KvStoreContractTest, Claim4_ProbeTouchesNothing) {
  WriteUnleased(1, kTestSegments);
  EXPECT_EQ(ProbeOne(1), MissReason::kNone);
  WriteUnleased(101, 101);
  EXPECT_EQ(ProbeOne(1), MissReason::kEvicted);
  EXPECT_EQ(Stats().leases, 0);
}

TEST_P(KvStoreContractTest, Claim4_ProbeRenewsNothing) {
  const Lease lease = WriteLeased(1, 1);
  fixture().AdvanceTime(lease.ttl - absl::Seconds(1));
  EXPECT_EQ(ProbeOne(1), MissReason::kNone);
  fixture().AdvanceTime(absl::Seconds(1));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
}

TEST_P(KvStoreContractTest, Claim4_AcquireIsAllOrNothing) {
  WriteUnleased(1, 2);
  const AcquireResult none = Acquire({1, 3, 2});
  EXPECT_FALSE(none.complete());
  EXPECT_THAT(none.misses, ElementsAre(MissReason::kNone, MissReason::kAbsent,
                                       MissReason::kNone));
  EXPECT_EQ(Stats().leases, 0);
  const AcquireResult all = Acquire({2, 1});
  EXPECT_TRUE(all.complete());
  EXPECT_THAT(all.misses, Each(MissReason::kNone));
  EXPECT_EQ(Stats().leases, 1);
  EXPECT_EQ(Read(all.lease.id, 1).miss, MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim4_AnIncompleteAcquireTouchesNothing) {
  WriteUnleased(1, kTestSegments);
  EXPECT_FALSE(Acquire({1, 201}).complete());
  WriteUnleased(101, 101);
  EXPECT_EQ(ProbeOne(1), MissReason::kEvicted);
}

TEST_P(KvStoreContractTest, Claim4_AcquireTouches) {
  WriteUnleased(1, kTestSegments);
  ASSERT_TRUE(store().Release(Acquire({1}).lease.id).ok());
  WriteUnleased(101, 101);
  EXPECT_EQ(ProbeOne(1), MissReason::kNone);
  EXPECT_EQ(ProbeOne(2), MissReason::kEvicted);
}

TEST_P(KvStoreContractTest, Claim4_AnAcquireThatMakesNoSenseIsRefused) {
  WriteUnleased(1, 1);
  const auto code = [&](const std::vector<SegmentKey>& keys,
                        absl::Duration ttl) {
    return store().Acquire(keys, ttl).status().code();
  };
  EXPECT_EQ(code({}, kTestLease), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Keys({1, 1}), kTestLease), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Keys({1}), -absl::Seconds(1)),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(KvStoreContractTest, Claim4_ALeasedSegmentIsNeverEvicted) {
  const Lease lease = WriteLeased(1, 1);
  for (uint32_t round = 0; round < 4; ++round) {
    WriteUnleased(100 * (round + 1), 100 * (round + 1) + kTestSegments - 2);
  }
  const ReadResult read = Read(lease.id, 1);
  ASSERT_EQ(read.miss, MissReason::kNone);
  EXPECT_TRUE(IsTestSegment(TestKey(1), read.view.bytes));
}

TEST_P(KvStoreContractTest, Claim4_RemoveHidesAtOnce) {
  WriteLeased(1, 2);
  EXPECT_EQ(store().Remove(Keys({1, 7})).value(), 1) << "absent ones skipped";
  EXPECT_EQ(ProbeOne(1), MissReason::kAbsent);
  EXPECT_FALSE(Acquire({1}).complete());
  EXPECT_EQ(store().List(SegmentKey{}, 10).value().size(), 1);
  EXPECT_EQ(store().Remove(Keys({1})).value(), 0);
}

TEST_P(KvStoreContractTest, Claim4_ARemovedSegmentIsFreedWithItsLastLease) {
  const Lease first = WriteLeased(1, 1);
  const Lease second = Acquire({1}).lease;
  ASSERT_EQ(store().Remove(Keys({1})).value(), 1);
  EXPECT_EQ(Stats().used_bytes, kTestSegmentBytes);
  ASSERT_TRUE(store().Release(first.id).ok());
  EXPECT_EQ(Stats().used_bytes, kTestSegmentBytes);
  EXPECT_EQ(Read(second.id, 1).miss, MissReason::kNone);
  ASSERT_TRUE(store().Release(second.id).ok());
  EXPECT_EQ(Stats().used_bytes, 0);
}

TEST_P(KvStoreContractTest, Claim4_ARemovedSegmentIsFreedWhenItsLeaseRunsOut) {
  const Lease lease = WriteLeased(1, 1);
  ASSERT_EQ(store().Remove(Keys({1})).value(), 1);
  fixture().AdvanceTime(lease.ttl);
  EXPECT_EQ(Stats().used_bytes, 0);
}

TEST_P(KvStoreContractTest, Claim4_ARemovedKeyCanBeWrittenBesideItsOldLease) {
  const Lease old_lease = WriteLeased(1, 1);
  ASSERT_EQ(store().Remove(Keys({1})).value(), 1);
  const Lease lease = WriteLeased(1, 1);
  EXPECT_EQ(Stats().used_bytes, 2 * kTestSegmentBytes);
  EXPECT_EQ(Read(old_lease.id, 1).miss, MissReason::kNone);
  ASSERT_TRUE(store().Release(old_lease.id).ok());
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim4_ListPagesInTheOrderOfTheKeys) {
  WriteUnleased(5, 6);
  WriteUnleased(1, 3);
  std::vector<SegmentKey> keys;
  SegmentKey after;
  while (true) {
    const std::vector<SegmentSpec> page = store().List(after, 2).value();
    if (page.empty()) {
      break;
    }
    EXPECT_LE(page.size(), 2);
    for (const SegmentSpec& spec : page) {
      EXPECT_EQ(spec.bytes, kTestSegmentBytes);
      EXPECT_EQ(spec.kind, SegmentKind::kRetrieval);
      keys.push_back(spec.key);
    }
    after = keys.back();
  }
  EXPECT_EQ(keys, Keys({1, 2, 3, 5, 6}));
}

// --- Claim 5: how leases end.

TEST_P(KvStoreContractTest, Claim5_ReleaseEndsALeaseOnce) {
  const Lease lease = WriteLeased(1, 1);
  EXPECT_TRUE(store().Release(lease.id).ok());
  EXPECT_EQ(store().Release(lease.id).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store().Renew(lease.id, kTestLease).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Stats().leases, 0);
}

TEST_P(KvStoreContractTest, Claim5_ALeaseRunsOutAtItsTime) {
  const Lease lease = WriteLeased(1, 1);
  fixture().AdvanceTime(lease.ttl - absl::Milliseconds(1));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
  fixture().AdvanceTime(absl::Milliseconds(1));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
  EXPECT_EQ(store().Release(lease.id).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Stats().leases, 0);
  EXPECT_EQ(ProbeOne(1), MissReason::kNone) << "only the pin is gone";
}

TEST_P(KvStoreContractTest, Claim5_TheTimeOfAWritesLeaseBeginsWithCommit) {
  const auto writer = store().BeginWrite({TestSpec(1)}, kTestLease).value();
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(1)).ok());
  fixture().AdvanceTime(kTestLease);
  const Lease lease = writer->Commit().value();
  fixture().AdvanceTime(kTestLease - absl::Milliseconds(1));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
}

TEST_P(KvStoreContractTest, Claim5_RenewCountsFromNow) {
  const Lease lease = WriteLeased(1, 1);
  fixture().AdvanceTime(absl::Seconds(6));
  EXPECT_EQ(store().Renew(lease.id, absl::Seconds(8)).value().ttl,
            absl::Seconds(8));
  fixture().AdvanceTime(absl::Seconds(7));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
  fixture().AdvanceTime(absl::Seconds(1));
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
}

TEST_P(KvStoreContractTest, Claim5_TheStoreGrantsNoMoreThanItsMaximum) {
  const Lease written =
      WriteTestContext(store(), {TestSpec(1)}, absl::Hours(1)).value();
  EXPECT_EQ(written.ttl, kTestMaxLease);
  EXPECT_EQ(Acquire({1}, absl::InfiniteDuration()).lease.ttl, kTestMaxLease);
  EXPECT_EQ(store().Renew(written.id, absl::Hours(1)).value().ttl,
            kTestMaxLease);
  EXPECT_EQ(store().Renew(written.id, absl::ZeroDuration()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(KvStoreContractTest, Claim5_LeasesEndWithTheStoresIncarnation) {
  const Lease lease = WriteLeased(1, 1);
  fixture().Restart();
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
  EXPECT_EQ(store().Release(lease.id).code(), absl::StatusCode::kNotFound);
  WriteUnleased(1, 1);
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired);
}

TEST_P(KvStoreContractTest, Claim5_TimeTakesNoBytesFromUnderAView) {
  const Lease lease = WriteLeased(1, 1);
  const ReadResult read = Read(lease.id, 1);
  ASSERT_EQ(read.miss, MissReason::kNone);
  fixture().AdvanceTime(lease.ttl);
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kExpired) << "no new use";
  ASSERT_EQ(store().Remove(Keys({1})).value(), 1);
  for (uint32_t round = 0; round < 4; ++round) {
    WriteUnleased(100 * (round + 1), 100 * (round + 1) + kTestSegments - 2);
  }
  EXPECT_TRUE(IsTestSegment(TestKey(1), read.view.bytes));
}

TEST_P(KvStoreContractTest, Claim5_ReleaseTakesNoBytesFromUnderAView) {
  const Lease lease = WriteLeased(1, 1);
  const ReadResult read = Read(lease.id, 1);
  ASSERT_TRUE(store().Release(lease.id).ok());
  WriteUnleased(101, 101 + kTestSegments - 2);
  WriteUnleased(201, 201 + kTestSegments - 2);
  EXPECT_TRUE(IsTestSegment(TestKey(1), read.view.bytes));
}

TEST_P(KvStoreContractTest, Claim5_ALeaseHandleReleases) {
  const Lease lease = WriteLeased(1, 1);
  {
    const LeaseHandle handle(store(), lease.id);
  }
  EXPECT_EQ(Stats().leases, 0);
}

}  // namespace
}  // namespace winnow
