#include "cache_store/store/segment_table.h"

#include <optional>

#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

constexpr Extent kFirst{.offset = 0, .bytes = 256};
constexpr Extent kSecond{.offset = 256, .bytes = 512};

// The segment that falls next; there must be one.
StoredSegment Evicted(SegmentTable& table) {
  const std::optional<StoredSegment> evicted = table.EvictOldest();
  EXPECT_TRUE(evicted.has_value());
  return evicted.value_or(StoredSegment{});
}

TEST(SegmentTableTest, APinnedSegmentIsFoundAndNotEvicted) {
  SegmentTable table;
  StoredSegment& segment = table.InsertPinned(TestSpec(1), kFirst);
  EXPECT_EQ(table.Find(TestKey(1)), &segment);
  EXPECT_EQ(table.EvictOldest(), std::nullopt);
  EXPECT_EQ(table.used_bytes(), 256);
  EXPECT_EQ(table.evictable_bytes(), 0);
}

TEST(SegmentTableTest, TheLastUnpinMakesASegmentEvictable) {
  SegmentTable table;
  StoredSegment& segment = table.InsertPinned(TestSpec(1), kFirst);
  table.Pin(segment);
  EXPECT_EQ(table.Unpin(segment), std::nullopt);
  EXPECT_EQ(table.num_evictable(), 0);
  EXPECT_EQ(table.Unpin(segment), std::nullopt);
  EXPECT_EQ(table.num_evictable(), 1);
  EXPECT_EQ(Evicted(table).extent, kFirst);
  EXPECT_EQ(table.Find(TestKey(1)), nullptr);
  EXPECT_EQ(table.used_bytes(), 0);
}

TEST(SegmentTableTest, ATouchWhilePinnedCountsAfterwards) {
  SegmentTable table;
  StoredSegment& first = table.InsertPinned(TestSpec(1), kFirst);
  StoredSegment& second = table.InsertPinned(TestSpec(2), kSecond);
  table.Touch(first);
  table.Unpin(first);
  table.Unpin(second);
  EXPECT_EQ(Evicted(table).spec.key, TestKey(2));
}

TEST(SegmentTableTest, ATouchWhileUnpinnedCountsAtOnce) {
  SegmentTable table;
  StoredSegment& first = table.InsertPinned(TestSpec(1), kFirst);
  StoredSegment& second = table.InsertPinned(TestSpec(2), kSecond);
  table.Unpin(first);
  table.Unpin(second);
  table.Touch(first);
  EXPECT_EQ(Evicted(table).spec.key, TestKey(2));
  EXPECT_EQ(table.evictable_bytes(), 256);
}

TEST(SegmentTableTest, HidingAnUnpinnedSegmentGivesItsExtent) {
  SegmentTable table;
  StoredSegment& segment = table.InsertPinned(TestSpec(1), kFirst);
  table.Unpin(segment);
  EXPECT_EQ(table.Hide(segment), kFirst);
  EXPECT_EQ(table.size(), 0);
  EXPECT_EQ(table.evictable_bytes(), 0);
}

TEST(SegmentTableTest, AHiddenSegmentLivesToItsLastUnpin) {
  SegmentTable table;
  StoredSegment& segment = table.InsertPinned(TestSpec(1), kFirst);
  EXPECT_EQ(table.Hide(segment), std::nullopt);
  EXPECT_EQ(table.num_visible(), 0);
  EXPECT_EQ(table.used_bytes(), 256);
  EXPECT_EQ(table.Unpin(segment), kFirst);
  EXPECT_EQ(table.size(), 0);
  EXPECT_EQ(table.used_bytes(), 0);
}

TEST(SegmentTableTest, AKeyIsFreeAgainOnceItsSegmentIsHidden) {
  SegmentTable table;
  StoredSegment& hidden = table.InsertPinned(TestSpec(1), kFirst);
  table.Hide(hidden);
  StoredSegment& visible = table.InsertPinned(TestSpec(1), kSecond);
  EXPECT_EQ(table.Find(TestKey(1)), &visible);
  EXPECT_EQ(table.Unpin(hidden), kFirst);
  EXPECT_EQ(table.Find(TestKey(1)), &visible);
}

}  // namespace
}  // namespace winnow
