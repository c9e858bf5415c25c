// The contract of KvStore, claim 6: the ceiling, eviction and statistics.  See
// kv_store_contract_test.cc.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// --- Claim 6: the ceiling.

TEST_P(KvStoreContractTest, Claim6_UseAndReservationsStayUnderTheCeiling) {
  for (uint32_t first = 1; first < 200; first += 7) {
    WriteUnleased(first, first + 6);
    const StoreStats stats = Stats();
    EXPECT_LE(stats.used_bytes + stats.reserved_bytes, stats.capacity_bytes);
  }
  EXPECT_GT(Stats().evictions, 0);
}

TEST_P(KvStoreContractTest, Claim6_OverTheCeilingTheAnswerSaysWhatToDo) {
  const Lease lease = WriteLeased(1, kTestSegments - 1);
  const absl::Status full =
      store().BeginWrite({TestSpec(101), TestSpec(102)}, kTestLease).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  const std::string message(full.message());
  EXPECT_THAT(message,
              HasSubstr("needs " + std::to_string(2 * kTestSegmentBytes)));
  EXPECT_THAT(message,
              HasSubstr(std::to_string(kTestSegmentBytes) + " bytes are free"));
  EXPECT_THAT(message, HasSubstr(std::to_string((kTestSegments - 1) *
                                                kTestSegmentBytes) +
                                 " are leased"));
  EXPECT_THAT(message, HasSubstr("retry after a lease ends"));
  ASSERT_TRUE(store().Release(lease.id).ok());
  EXPECT_TRUE(WriteTestContext(store(), {TestSpec(101), TestSpec(102)}).ok());
}

TEST_P(KvStoreContractTest, Claim6_AWriteThatCannotFitEvictsNothing) {
  WriteLeased(1, 2);
  WriteUnleased(3, kTestSegments);
  std::vector<SegmentSpec> specs;
  specs.reserve(kTestSegments - 1);
  for (uint32_t i = 0; i < kTestSegments - 1; ++i) {
    specs.push_back(TestSpec(101 + i));
  }
  EXPECT_EQ(store().BeginWrite(specs, kTestLease).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Stats().segments, kTestSegments);
  EXPECT_EQ(Stats().evictions, 0);
  EXPECT_EQ(Stats().reserved_bytes, 0);
}

TEST_P(KvStoreContractTest, Claim6_AWriteLargerThanTheStoreIsRefused) {
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 0; i <= kTestSegments; ++i) {
    specs.push_back(TestSpec(i));
  }
  const auto refused = [&] {
    const absl::Status status = store().BeginWrite(specs, kTestLease).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    const std::string message(status.message());
    const auto bytes = [](size_t segments) {
      return std::to_string(segments * kTestSegmentBytes) + " bytes";
    };
    EXPECT_THAT(message, HasSubstr("needs " + bytes(kTestSegments + 1)));
    EXPECT_THAT(message, HasSubstr("holds " + bytes(kTestSegments)));
    EXPECT_THAT(message, HasSubstr("raise capacity_bytes"));
    EXPECT_THAT(message, Not(HasSubstr("retry")));
  };
  refused();
  // What is there already needs its place like the rest.
  WriteUnleased(0, kTestSegments - 1);
  refused();
  EXPECT_EQ(Stats().evictions, 0);
  // Nor does it help to wait for a lease.
  for (size_t i = 0; i < kTestMaxLeases; ++i) {
    Acquire({1});
  }
  refused();
}

TEST_P(KvStoreContractTest, Claim6_AReservationCountsLikeUse) {
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 1; i < kTestSegments; ++i) {
    specs.push_back(TestSpec(i));
  }
  auto writer = store().BeginWrite(specs, kTestLease).value();
  EXPECT_EQ(store()
                .BeginWrite({TestSpec(101), TestSpec(102)}, kTestLease)
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  writer.reset();
  EXPECT_TRUE(WriteTestContext(store(), {TestSpec(101), TestSpec(102)}).ok());
}

TEST_P(KvStoreContractTest, Claim6_ALeaseThatRunsOutMakesRoom) {
  const Lease lease = WriteLeased(1, kTestSegments);
  EXPECT_EQ(WriteTestContext(store(), {TestSpec(101)}).status().code(),
            absl::StatusCode::kResourceExhausted);
  fixture().AdvanceTime(lease.ttl);
  EXPECT_TRUE(WriteTestContext(store(), {TestSpec(101)}).ok());
}

TEST_P(KvStoreContractTest, Claim6_LeasesAreLimitedAndWritesCount) {
  Lease last;
  last = WriteLeased(1, 1);
  for (size_t i = 2; i < kTestMaxLeases; ++i) {
    last = Acquire({1}).lease;
  }
  auto writer = store().BeginWrite({TestSpec(2)}, kTestLease).value();
  const absl::Status refused = store().Acquire(Keys({1}), kTestLease).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("retry after a lease ends"));
  EXPECT_EQ(store().BeginWrite({TestSpec(3)}, kTestLease).status().code(),
            absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(WriteTestSegment(*writer, 0, TestKey(2)).ok());
  EXPECT_TRUE(writer->Commit().ok()) << "its lease was kept for it";
  ASSERT_TRUE(store().Release(last.id).ok());
  EXPECT_TRUE(Acquire({1}).complete());
}

// --- Eviction: the order in which contexts fall.

TEST_P(KvStoreContractTest, EvictionTakesTheLeastRecentlyUsed) {
  for (uint32_t i = 1; i <= kTestSegments; ++i) {
    WriteUnleased(i, i);
  }
  WriteUnleased(101, 103);
  for (uint32_t i = 1; i <= kTestSegments; ++i) {
    EXPECT_EQ(ProbeOne(i), i <= 3 ? MissReason::kEvicted : MissReason::kNone);
  }
  EXPECT_EQ(Stats().evictions, 3);
}

// The numbers that are gone, in the order in which they went.
class EvictionOrder {
 public:
  EvictionOrder(KvStore& store, std::vector<uint32_t> numbers)
      : store_(store), numbers_(std::move(numbers)) {}

  // Writes other segments until all of the numbers are gone.
  std::vector<uint32_t> Find() {
    std::vector<uint32_t> gone;
    for (uint32_t filler = 1000; gone.size() < numbers_.size(); ++filler) {
      const Lease lease = WriteTestContext(store_, {TestSpec(filler)}).value();
      EXPECT_TRUE(store_.Release(lease.id).ok());
      for (const uint32_t number : numbers_) {
        const bool present =
            store_.Probe(std::vector{TestKey(number)}).value().segments[0] ==
            MissReason::kNone;
        if (!present && std::ranges::find(gone, number) == gone.end()) {
          gone.push_back(number);
        }
      }
      if (filler > 1000 + 4 * kTestSegments) {
        ADD_FAILURE() << "they do not fall";
        break;
      }
    }
    return gone;
  }

 private:
  KvStore& store_;
  const std::vector<uint32_t> numbers_;
};

// A context of three blocks: 10 is its anchor, 20 + i its windows, 30 + i its
// retrieval blocks.
std::vector<SegmentSpec> RankedContext() {
  return {TestSpec(10, EvictionRank(SegmentKind::kAnchor, 3)),
          TestSpec(21, EvictionRank(SegmentKind::kWindow, 1)),
          TestSpec(22, EvictionRank(SegmentKind::kWindow, 2)),
          TestSpec(30, EvictionRank(SegmentKind::kRetrieval, 0)),
          TestSpec(31, EvictionRank(SegmentKind::kRetrieval, 1)),
          TestSpec(32, EvictionRank(SegmentKind::kRetrieval, 2))};
}

TEST_P(KvStoreContractTest, EvictionTakesAnchorsWindowsAndThenLateBlocks) {
  const Lease lease = WriteTestContext(store(), RankedContext()).value();
  ASSERT_TRUE(store().Release(lease.id).ok());
  EXPECT_THAT(EvictionOrder(store(), {10, 21, 22, 30, 31, 32}).Find(),
              ElementsAre(10, 22, 21, 32, 31, 30));
}

TEST_P(KvStoreContractTest, EvictionOrderIsTheSameAfterAnAcquire) {
  const Lease lease = WriteTestContext(store(), RankedContext()).value();
  ASSERT_TRUE(store().Release(lease.id).ok());
  ASSERT_TRUE(store().Release(Acquire({30, 31, 32, 22, 21, 10}).lease.id).ok());
  EXPECT_THAT(EvictionOrder(store(), {10, 21, 22, 30, 31, 32}).Find(),
              ElementsAre(10, 22, 21, 32, 31, 30));
}

TEST_P(KvStoreContractTest, EvictionTakesAColdContextWholeBeforeAWarmOne) {
  WriteUnleased(1, 3);
  const Lease lease = WriteTestContext(store(), RankedContext()).value();
  ASSERT_TRUE(store().Release(lease.id).ok());
  ASSERT_TRUE(store().Release(Acquire({1, 2, 3}).lease.id).ok());
  EXPECT_THAT(EvictionOrder(store(), {30, 1, 3, 10}).Find(),
              ElementsAre(10, 30, 1, 3));
}

// --- Statistics.

TEST_P(KvStoreContractTest, StatisticsCountWhatHappened) {
  const Lease lease = WriteLeased(1, 3);
  EXPECT_FALSE(Acquire({1, 9}).complete());
  EXPECT_EQ(Read(lease.id, 1).miss, MissReason::kNone);
  EXPECT_EQ(Read(lease.id, 9).miss, MissReason::kAbsent);
  const StoreStats stats = Stats();
  EXPECT_EQ(stats.capacity_bytes, kTestSegments * kTestSegmentBytes);
  EXPECT_EQ(stats.used_bytes, 3 * kTestSegmentBytes);
  EXPECT_EQ(stats.reserved_bytes, 0);
  EXPECT_EQ(stats.segments, 3);
  EXPECT_EQ(stats.leases, 1);
  EXPECT_EQ(stats.writes_in_flight, 0);
  EXPECT_EQ(stats.written_bytes, 3 * kTestSegmentBytes);
  EXPECT_EQ(stats.read_bytes, kTestSegmentBytes);
  EXPECT_EQ(stats.hits, 1);
  EXPECT_EQ(stats.misses, 2);
  EXPECT_EQ(stats.evictions, 0);
  EXPECT_EQ(stats.duplicate_writes, 0);
  EXPECT_EQ(stats.integrity_failures, 0);
}

}  // namespace
}  // namespace winnow
