#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "cache_store/store/local_store.h"
#include "services/bench/bench_ask.h"
#include "services/bench/bench_context.h"
#include "services/bench/bench_machine.h"
#include "services/bench/bench_raw_socket.h"
#include "services/bench/bench_role.h"

namespace winnow {
namespace {

std::vector<std::byte> Counting(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<std::byte>(i * 2654435761 >> 16);
  }
  return bytes;
}

// Processes whose parent is this one.
int Children() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           "/proc/self/task/" + std::to_string(getpid()))) {
    if (entry.path().filename() == "children") {
      FILE* const file = fopen(entry.path().c_str(), "r");
      int pid = 0;
      while (fscanf(file, "%d", &pid) == 1) {
        ++count;
      }
      fclose(file);
    }
  }
  return count;
}

class RawSenderTest : public testing::TestWithParam<SocketKind> {};
INSTANTIATE_TEST_SUITE_P(Sockets, RawSenderTest,
                         testing::Values(SocketKind::kUnix, SocketKind::kTcp));

TEST_P(RawSenderTest, SendsTheSourceFromItsStartEveryTime) {
  const std::vector<std::byte> source = Counting(3'000'001);
  const auto sender = RawSender::Start(GetParam(), source).value();
  for (const size_t count : {source.size(), size_t{1}, size_t{1'500'000}}) {
    std::vector<std::byte> to(count);
    EXPECT_GT(sender->Receive(to, count % 2 == 0).value(), 0);
    EXPECT_TRUE(std::equal(to.begin(), to.end(), source.begin()));
  }
}

TEST_P(RawSenderTest, RefusesMoreThanItHas) {
  const std::vector<std::byte> source = Counting(100);
  const auto sender = RawSender::Start(GetParam(), source).value();
  std::vector<std::byte> to(101);
  EXPECT_EQ(sender->Receive(to, false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(RawSenderTest, TheChildEndsWithIt) {
  const std::vector<std::byte> source = Counting(100);
  const int before = Children();
  auto sender = RawSender::Start(GetParam(), source).value();
  EXPECT_EQ(Children(), before + 1);
  sender.reset();
  EXPECT_EQ(Children(), before);
}

TEST(ReadyLineTest, AddressesStandBeforeTheMetrics) {
  EXPECT_EQ(
      ParseReadyLine("2026-01-31T00:00:00.000Z INFO  winnow store ready: grpc "
                     "unix:/tmp/a.sock, 127.0.0.1:4711; metrics off\nmore"),
      (std::vector<std::string>{"unix:/tmp/a.sock", "127.0.0.1:4711"}));
}

TEST(ReadyLineTest, HalfALineIsNone) {
  EXPECT_TRUE(ParseReadyLine("").empty());
  EXPECT_TRUE(ParseReadyLine("winnow store: no such file\n").empty());
  EXPECT_TRUE(ParseReadyLine("winnow store ready: grpc 127.0.0.1:47").empty());
}

// This test itself is what runs: it does not know the role, and ends.
TEST(RunningRoleTest, OneThatEndsIsReportedAtOnce) {
  const int before = Children();
  const auto role =
      RunningRole::Start({"--gtest_filter=None.None"}, absl::Minutes(1));
  EXPECT_EQ(role.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Children(), before);
}

TEST(SocketFolderTest, IsOnlyForThisUserAndGoesWithItsContent) {
  auto folder = SocketFolder::Create().value();
  const std::string address = folder->Address("store");
  ASSERT_TRUE(address.starts_with("unix:/"));
  const std::filesystem::path path =
      std::filesystem::path(address.substr(5)).parent_path();
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_all);
  fclose(fopen((path / "store.sock").c_str(), "w"));
  folder.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(BenchContextTest, SizesAreThoseOfTheStore) {
  const auto store =
      LocalStore::Create({.capacity_bytes = size_t{32} << 20}).value();
  BenchContext context(size_t{10} << 20);
  EXPECT_LE(context.bytes(), size_t{10} << 20);
  EXPECT_GT(context.bytes(), size_t{9} << 20);
  const std::vector<std::byte> source = Counting(context.bytes());
  ASSERT_TRUE(context.Write(*store, source).ok());
  const StoreStats stats = store->GetStats().value();
  EXPECT_EQ(stats.written_bytes, context.bytes());
  EXPECT_EQ(stats.segments, context.segments());
  EXPECT_EQ(stats.leases, 0);
  EXPECT_TRUE(context.PullAndCompare(*store, source).ok());
  const std::vector<std::byte> other(context.bytes());
  EXPECT_EQ(context.PullAndCompare(*store, other).code(),
            absl::StatusCode::kDataLoss);
  ASSERT_TRUE(context.Remove(*store).ok());
  EXPECT_EQ(context.Pull(*store).code(), absl::StatusCode::kDataLoss);
}

TEST(RandomTextTest, SeedsDifferFromTheFirstWordsOn) {
  EXPECT_EQ(RandomText(100, 7), RandomText(100, 7));
  EXPECT_NE(RandomText(100, 7).substr(0, 9), RandomText(100, 8).substr(0, 9));
}

TEST(AskTimesTest, TimesCountFromTheStart) {
  AskTimes times;
  times.started = absl::Seconds(10);
  for (const int ms : {500, 510, 540, 550}) {
    times.tokens.push_back(times.started + absl::Milliseconds(ms));
  }
  times.finished = times.started + absl::Milliseconds(560);
  EXPECT_EQ(times.FirstToken(), absl::Milliseconds(500));
  EXPECT_EQ(times.SecondToken(), absl::Milliseconds(510));
  EXPECT_EQ(times.Total(), absl::Milliseconds(560));
  EXPECT_NEAR(absl::ToDoubleMilliseconds(times.InterToken()), 10, 1e-6);
  EXPECT_NEAR(times.TokensPerSecond(), 60, 1e-6);
}

// Busy work of a child is its own time, as the system counts it.
TEST(MachineTest, CpuTimeOfAnotherProcessGrowsAsItWorks) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) {
    }
  }
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (CpuTimeOf(child) < absl::Milliseconds(50) && absl::Now() < end) {
    usleep(1000);
  }
  EXPECT_GE(CpuTimeOf(child), absl::Milliseconds(50));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(CpuTimeOf(child), absl::ZeroDuration());
}

}  // namespace
}  // namespace winnow
