#include "gpu/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include <omp.h>
#include <sys/resource.h>

#include "gtest/gtest.h"

namespace winnow {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 2, 3, 7, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
    pool.ParallelFor(count, [&](int64_t index, int thread) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, pool.num_threads());
      calls[static_cast<size_t>(index)].fetch_add(1);
    });
    for (const auto& number : calls) {
      EXPECT_EQ(number.load(), 1);
    }
  }
}

TEST_P(ThreadPoolTest, WritesOfALoopAreSeenAfterItAndByTheNext) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(64, 0);  // not atomic: the sanitizer watches
  for (int64_t loop = 1; loop <= 2000; ++loop) {
    pool.ParallelFor(64, [&](int64_t index, int) {
      // Each loop reads what some other thread wrote in the last one.
      const auto slot = static_cast<size_t>((index + loop) % 64);
      values[slot] += 1;
    });
  }
  for (const int64_t value : values) {
    EXPECT_EQ(value, 2000);
  }
}

TEST_P(ThreadPoolTest, WorksAfterItsThreadsHaveBlocked) {
  ThreadPool pool(GetParam());
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> calls = 0;
    pool.ParallelFor(100, [&](int64_t, int) { ++calls; });
    EXPECT_EQ(calls.load(), 100);
  }
}

TEST_P(ThreadPoolTest, ThreadsStartNoOpenMpTeams) {
  ThreadPool pool(GetParam());
  pool.ParallelFor(100,
                   [](int64_t, int) { EXPECT_EQ(omp_get_max_threads(), 1); });
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 3, 8));

TEST(ThreadPoolTest, OneThreadIsTheCaller) {
  ThreadPool pool(1);
  pool.ParallelFor(10, [caller = std::this_thread::get_id()](int64_t, int) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

TEST(ThreadPoolTest, SeveralThreadsTakePart) {
  ThreadPool pool(2);
  std::atomic<int> waiting = 0;
  // Both pieces wait for each other, so one thread alone would never end.
  pool.ParallelFor(2, [&](int64_t, int) {
    ++waiting;
    while (waiting.load() < 2) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(waiting.load(), 2);
}

TEST(ThreadPoolTest, IndicesAscend) {
  ThreadPool pool(1);
  int64_t next = 0;
  pool.ParallelFor(50, [&](int64_t index, int) { EXPECT_EQ(index, next++); });
}

TEST(ThreadPoolTest, AnIdlePoolTakesNoTime) {
  ThreadPool pool(8);
  pool.ParallelFor(100, [](int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto used = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec;
  };
  const auto before = used();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  // Seven spinning workers would have taken 200,000 or more.
  EXPECT_LT(used() - before, 20000);
}

}  // namespace
}  // namespace winnow
