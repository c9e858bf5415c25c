#include "cache_store/store/lru.h"

#include "gtest/gtest.h"

#include "cache_store/store/segment_table.h"

namespace winnow {
namespace {

TEST(LruTest, AnEmptyOneHasNoOldest) { EXPECT_EQ(Lru().Oldest(), nullptr); }

TEST(LruTest, TheOldestIsTheOneOfTheEarliestTick) {
  Lru lru;
  StoredSegment first;
  StoredSegment second;
  const TouchTick earlier = lru.Tick();
  const TouchTick later = lru.Tick();
  lru.Add(later, second);
  lru.Add(earlier, first);
  EXPECT_EQ(lru.Oldest(), &first);
  lru.Remove(earlier);
  EXPECT_EQ(lru.Oldest(), &second);
  EXPECT_EQ(lru.size(), 1);
}

TEST(LruTest, ASegmentComesBackToThePlaceOfItsTick) {
  Lru lru;
  StoredSegment first;
  StoredSegment second;
  const TouchTick earlier = lru.Tick();
  lru.Add(earlier, first);
  lru.Add(lru.Tick(), second);
  lru.Remove(earlier);
  lru.Add(earlier, first);
  EXPECT_EQ(lru.Oldest(), &first);
}

}  // namespace
}  // namespace winnow
