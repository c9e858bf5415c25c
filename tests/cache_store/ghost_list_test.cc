#include "cache_store/store/ghost_list.h"

#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

TEST(GhostListTest, RemembersUpToItsCapacityTheOldestFallFirst) {
  GhostList ghosts(2);
  ghosts.Remember(TestKey(1));
  ghosts.Remember(TestKey(2));
  ghosts.Remember(TestKey(3));
  EXPECT_FALSE(ghosts.Contains(TestKey(1)));
  EXPECT_TRUE(ghosts.Contains(TestKey(2)));
  EXPECT_TRUE(ghosts.Contains(TestKey(3)));
  EXPECT_EQ(ghosts.size(), 2);
}

TEST(GhostListTest, AKeyRememberedAgainIsTheNewest) {
  GhostList ghosts(2);
  ghosts.Remember(TestKey(1));
  ghosts.Remember(TestKey(2));
  ghosts.Remember(TestKey(1));
  ghosts.Remember(TestKey(3));
  EXPECT_TRUE(ghosts.Contains(TestKey(1)));
  EXPECT_FALSE(ghosts.Contains(TestKey(2)));
}

TEST(GhostListTest, ForgetsWhatItIsTold) {
  GhostList ghosts(2);
  ghosts.Remember(TestKey(1));
  ghosts.Forget(TestKey(1));
  ghosts.Forget(TestKey(7));
  EXPECT_FALSE(ghosts.Contains(TestKey(1)));
  EXPECT_EQ(ghosts.size(), 0);
}

TEST(GhostListTest, OneOfNoCapacityRemembersNothing) {
  GhostList ghosts(0);
  ghosts.Remember(TestKey(1));
  EXPECT_FALSE(ghosts.Contains(TestKey(1)));
}

}  // namespace
}  // namespace winnow
