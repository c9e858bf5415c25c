// Writers, readers and removers at the same time on an arena that is too small
// for them.  Every byte that is read is checked.  For ThreadSanitizer above
// all.

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

class LocalStoreStressTest : public testing::Test {
 public:
  static constexpr uint32_t kNumbers = 40;
  static constexpr uint32_t kContextSegments = 3;
  static constexpr auto kTime = std::chrono::milliseconds(2000);

  LocalStoreStressTest() {
    LocalStoreOptions options = TestStoreOptions(Clock::Real());
    options.max_leases = 64;
    store_ = LocalStore::Create(options).value();
  }

  // A run of numbers, so that contexts overlap.
  static std::vector<SegmentSpec> RandomContext(std::mt19937& random) {
    const uint32_t first = random() % (kNumbers - kContextSegments);
    std::vector<SegmentSpec> specs;
    specs.reserve(kContextSegments);
    for (uint32_t i = 0; i < kContextSegments; ++i) {
      specs.push_back(TestSpec(
          first + i, EvictionRank(SegmentKind::kRetrieval, first + i)));
    }
    return specs;
  }
  static absl::Duration RandomTtl(std::mt19937& random) {
    return absl::Microseconds(1 + random() % 2000);  // often runs out in use
  }

  void Write(std::mt19937& random) {
    const std::vector<SegmentSpec> specs = RandomContext(random);
    auto writer = store_->BeginWrite(specs, RandomTtl(random));
    if (!writer.ok()) {
      EXPECT_EQ(writer.status().code(), absl::StatusCode::kResourceExhausted);
      std::this_thread::yield();
      return;
    }
    const size_t filled =  // some are abandoned on the way
        random() % 4 == 0 ? random() % specs.size() : specs.size();
    for (size_t i = 0; i < filled; ++i) {
      EXPECT_TRUE(WriteTestSegment(**writer, i, specs[i].key).ok());
    }
    if (filled == specs.size()) {
      const absl::StatusOr<Lease> lease = (*writer)->Commit();
      if (lease.ok()) {
        ++commits_;
        ReadUnder(lease->id, specs[0].key);
      } else {
        EXPECT_EQ(lease.status().code(), absl::StatusCode::kAborted);
      }
      if (lease.ok() && random() % 2 == 0) {
        store_->Release(lease->id).IgnoreError();  // else it runs out
      }
    }
  }

  void Read(std::mt19937& random) {
    std::vector<SegmentKey> keys;
    for (const SegmentSpec& spec : RandomContext(random)) {
      keys.push_back(spec.key);
    }
    const auto acquired = store_->Acquire(keys, RandomTtl(random));
    if (!acquired.ok()) {
      EXPECT_EQ(acquired.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    if (!acquired->complete()) {
      return;
    }
    const LeaseHandle lease(*store_, acquired->lease.id);
    for (const SegmentKey& key : keys) {
      ReadUnder(lease.id(), key);
    }
  }

  void ReadUnder(LeaseId lease, const SegmentKey& key) {
    const ReadResult read = store_->Read(lease, key).value();
    if (read.miss != MissReason::kNone) {
      EXPECT_EQ(read.miss, MissReason::kExpired);
      return;
    }
    std::this_thread::yield();  // let it be removed
    EXPECT_TRUE(IsTestSegment(key, read.view.bytes));
    ++reads_;
  }

  void Remove(std::mt19937& random) const {
    const std::vector<SegmentKey> keys = {TestKey(random() % kNumbers),
                                          TestKey(random() % kNumbers)};
    EXPECT_TRUE(store_->Remove(keys).ok());
    EXPECT_TRUE(store_->Probe(keys).ok());
    EXPECT_TRUE(store_->List(keys[0], 5).ok());
    const StoreStats stats = store_->GetStats().value();
    EXPECT_LE(stats.used_bytes + stats.reserved_bytes, stats.capacity_bytes);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }

  // Runs `act` again and again till the time is over.
  template <typename Act>
  std::thread Start(uint32_t seed, Act act) {
    return std::thread([this, seed, act] {
      std::mt19937 random(seed);
      while (std::chrono::steady_clock::now() < end_) {
        (this->*act)(random);
      }
    });
  }

  const std::chrono::steady_clock::time_point end_ =
      std::chrono::steady_clock::now() + kTime;
  std::unique_ptr<LocalStore> store_;
  std::atomic<int> commits_ = 0;
  std::atomic<int> reads_ = 0;
};

TEST_F(LocalStoreStressTest, EveryReadIsExactAndNothingLeaks) {
  std::vector<std::thread> threads;
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    threads.push_back(Start(seed, &LocalStoreStressTest::Write));
    threads.push_back(Start(10 + seed, &LocalStoreStressTest::Read));
  }
  threads.push_back(Start(20, &LocalStoreStressTest::Remove));
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GT(commits_, 0);
  EXPECT_GT(reads_, 0);

  std::vector<SegmentKey> keys;
  keys.reserve(kNumbers);
  for (uint32_t i = 0; i < kNumbers; ++i) {
    keys.push_back(TestKey(i));
  }
  EXPECT_TRUE(store_->Remove(keys).ok());
  while (store_->GetStats().value().leases > 0) {  // 2 ms at most
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const StoreStats stats = store_->GetStats().value();
  EXPECT_EQ(stats.used_bytes, 0);
  EXPECT_EQ(stats.reserved_bytes, 0);
  EXPECT_EQ(stats.writes_in_flight, 0);
  EXPECT_EQ(stats.integrity_failures, 0);
}

}  // namespace
}  // namespace winnow
