#include "gpu/cpu/cpu_count.h"

#include <thread>

#include <sched.h>

#include "gtest/gtest.h"

namespace winnow {
namespace {

TEST(CpuCountTest, QuotaIsCoresPerPeriod) {
  EXPECT_EQ(ParseCpuMax("200000 100000\n"), 2.0);
  EXPECT_EQ(ParseCpuMax("150000 100000"), 1.5);
}

TEST(CpuCountTest, NoQuotaIsNoLimit) {
  EXPECT_EQ(ParseCpuMax("max 100000\n"), std::nullopt);
  EXPECT_EQ(ParseCpuMax("-1\n 100000\n"), std::nullopt);  // version 1
  EXPECT_EQ(ParseCpuMax(""), std::nullopt);
  EXPECT_EQ(ParseCpuMax("1 0"), std::nullopt);
  EXPECT_EQ(ParseCpuMax("nan nan"), std::nullopt);
}

TEST(CpuCountTest, FolderIsFoundByController) {
  constexpr std::string_view kContent =
      "12:cpuset:/a\n4:cpu,cpuacct:/docker/b\n1:name=systemd:/c\n0::/d/e\n";
  EXPECT_EQ(ParseCgroupFolder(kContent, "cpu"), "/docker/b");
  EXPECT_EQ(ParseCgroupFolder(kContent, "cpuacct"), "/docker/b");
  EXPECT_EQ(ParseCgroupFolder(kContent, ""), "/d/e");
  EXPECT_EQ(ParseCgroupFolder(kContent, "memory"), std::nullopt);
  EXPECT_EQ(ParseCgroupFolder("nonsense", ""), std::nullopt);
}

TEST(CpuCountTest, AffinityLimitsTheCount) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) {
    ++first;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCpuCount(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(UsableCpuCount(), 1);
  EXPECT_LE(UsableCpuCount(), CPU_COUNT(&before));
}

}  // namespace
}  // namespace winnow
