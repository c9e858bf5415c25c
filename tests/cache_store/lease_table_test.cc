#include "cache_store/store/lease_table.h"

#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "cache_store/store/segment_table.h"
#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

class LeaseTableTest : public testing::Test {
 protected:
  LeaseId Grant(int deadline_seconds) {
    return leases_.Grant({{TestKey(1), &segment_}},
                         absl::Seconds(deadline_seconds));
  }

  StoredSegment segment_;
  LeaseTable leases_;
};

TEST_F(LeaseTableTest, FindsTheSegmentsOfALease) {
  const LeaseId id = Grant(1);
  ASSERT_NE(leases_.Find(id), nullptr);
  EXPECT_EQ(leases_.Find(id)->at(TestKey(1)), &segment_);
  EXPECT_EQ(leases_.Find(id + 1), nullptr);
  EXPECT_EQ(leases_.Find(0), nullptr);
}

TEST_F(LeaseTableTest, IdsAreDistinctAndSpreadOut) {
  absl::flat_hash_set<LeaseId> ids;
  absl::flat_hash_set<LeaseId> high_halves;
  for (int i = 0; i < 1000; ++i) {
    const LeaseId id = Grant(1);
    EXPECT_NE(id, 0);
    ids.insert(id);
    high_halves.insert(id >> 32);
  }
  EXPECT_EQ(ids.size(), 1000);
  EXPECT_GT(high_halves.size(), 990);
}

TEST_F(LeaseTableTest, EndsALeaseOnce) {
  const LeaseId id = Grant(1);
  EXPECT_TRUE(leases_.End(id).has_value());
  EXPECT_FALSE(leases_.End(id).has_value());
  EXPECT_FALSE(leases_.Extend(id, absl::Seconds(2)));
  EXPECT_EQ(leases_.size(), 0);
  EXPECT_FALSE(leases_.ExpireOne(absl::Seconds(9)).has_value());
}

TEST_F(LeaseTableTest, ALeaseExpiresAtItsDeadlineAndNotBefore) {
  const LeaseId id = Grant(5);
  EXPECT_FALSE(
      leases_.ExpireOne(absl::Seconds(5) - absl::Nanoseconds(1)).has_value());
  EXPECT_TRUE(leases_.ExpireOne(absl::Seconds(5)).has_value());
  EXPECT_EQ(leases_.Find(id), nullptr);
}

TEST_F(LeaseTableTest, ExpiresOnlyTheLeasesWhoseTimeHasCome) {
  const LeaseId late = Grant(9);
  Grant(3);
  Grant(3);
  EXPECT_TRUE(leases_.ExpireOne(absl::Seconds(4)).has_value());
  EXPECT_TRUE(leases_.ExpireOne(absl::Seconds(4)).has_value());
  EXPECT_FALSE(leases_.ExpireOne(absl::Seconds(4)).has_value());
  EXPECT_NE(leases_.Find(late), nullptr);
}

TEST_F(LeaseTableTest, AnExtendedLeaseExpiresAtItsNewDeadlineOnly) {
  const LeaseId id = Grant(3);
  EXPECT_TRUE(leases_.Extend(id, absl::Seconds(8)));
  EXPECT_FALSE(leases_.ExpireOne(absl::Seconds(7)).has_value());
  EXPECT_TRUE(leases_.ExpireOne(absl::Seconds(8)).has_value());
  EXPECT_FALSE(leases_.ExpireOne(absl::Seconds(8)).has_value());
}

}  // namespace
}  // namespace winnow
