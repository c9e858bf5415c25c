// A connection that breaks at every place: never wrong bytes, an answer in
// time, and nothing left in the store.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "services/common/call_scope.h"
#include "services/common/remote_store.h"
#include "tests/contract/kv_store_fixture.h"
#include "tests/services/fault_proxy.h"
#include "tests/services/store_server.h"

namespace winnow {
namespace {

constexpr size_t kSegments = 8;
constexpr uint64_t kContextBytes = 36000;  // on the wire, a little less
constexpr absl::Duration kTimeout = absl::Milliseconds(300);
constexpr absl::Duration kForever = absl::Minutes(1);  // for a test

class RemoteStoreFaultTest : public testing::Test {
 protected:
  RemoteStoreFaultTest()
      : server_({.store = TestStoreOptions(clock_),
                 .service = {.write_idle_timeout = absl::Seconds(1)},
                 .rpc = {}}),
        proxy_(server_.port()) {
    options_.timeout = kTimeout;
    options_.transfer_timeout = kTimeout;
    options_.abandon_timeout = absl::Milliseconds(50);
    options_.channel.min_backoff = absl::Milliseconds(10);
    options_.channel.max_backoff = absl::Milliseconds(50);
    for (uint32_t i = 0; i < kSegments; ++i) {
      keys_.push_back(TestKey(i));
      specs_.push_back(TestSpec(i));
    }
  }

  // A store whose connection is open before the fault is armed.
  std::unique_ptr<RemoteStore> Connect() {
    auto store = std::make_unique<RemoteStore>(proxy_.address(), options_);
    EXPECT_TRUE(store->GetStats().ok());
    return store;
  }

  // Reads all segments while `fault` is armed; true if it was noticed.
  bool ReadUnder(const Fault& fault) {
    LocalStore& local = server_.store();
    const Lease lease = WriteTestContext(local, specs_).value();
    const auto store = Connect();
    proxy_.Inject(fault);
    const absl::Time begin = absl::Now();
    const auto read = store->ReadMany(lease.id, keys_);
    EXPECT_LT(absl::Now() - begin, kTimeout + absl::Seconds(2));
    bool noticed = !read.ok();
    for (size_t i = 0; read.ok() && i < keys_.size(); ++i) {
      if ((*read)[i].miss == MissReason::kNone) {
        EXPECT_TRUE(IsTestSegment(keys_[i], (*read)[i].view.bytes));
      } else {
        noticed = true;
        EXPECT_TRUE((*read)[i].view.bytes.empty());
        misses_.push_back((*read)[i].miss);
      }
    }
    proxy_.Inject({});
    EXPECT_TRUE(local.Release(lease.id).ok());
    ExpectEmptyAfterRemove();
    return noticed;
  }

  // Writes all segments while `fault` is armed; true if it failed.
  bool WriteUnder(const Fault& fault) {
    auto store = Connect();
    proxy_.Inject(fault);
    const absl::Time begin = absl::Now();
    const absl::StatusOr<Lease> lease = WriteTestContext(*store, specs_);
    EXPECT_LT(absl::Now() - begin, kTimeout + absl::Seconds(2));
    if (!lease.ok()) {
      EXPECT_FALSE(lease.status().message().empty());
    }
    proxy_.Inject({});
    store.reset();
    // Either the write happened, whole, or it did not.
    LocalStore& local = server_.store();
    AwaitNoWrites();
    const size_t segments = local.GetStats().value().segments;
    EXPECT_TRUE(segments == 0 || segments == kSegments) << segments;
    EXPECT_TRUE(!lease.ok() || segments == kSegments);
    if (segments == kSegments) {
      const Lease check = local.Acquire(keys_, kTestLease).value().lease;
      for (const SegmentKey& key : keys_) {
        EXPECT_TRUE(
            IsTestSegment(key, local.Read(check.id, key).value().view.bytes));
      }
      EXPECT_TRUE(local.Release(check.id).ok());
    }
    // A commit whose answer was lost leaves its lease to its ttl.
    clock_.Advance(kTestLease);
    ExpectEmptyAfterRemove();
    return !lease.ok();
  }

  void AwaitNoWrites() {
    const absl::Time until = absl::Now() + absl::Seconds(10);
    while (server_.store().GetStats().value().writes_in_flight > 0 &&
           absl::Now() < until) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_EQ(server_.store().GetStats().value().writes_in_flight, 0);
    EXPECT_EQ(server_.store().GetStats().value().reserved_bytes, 0);
  }

  // Views that a connection holds end with it.
  void ExpectEmptyAfterRemove() {
    LocalStore& local = server_.store();
    ASSERT_TRUE(local.Remove(keys_).ok());
    const absl::Time until = absl::Now() + absl::Seconds(10);
    while (local.GetStats().value().used_bytes > 0 && absl::Now() < until) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    const StoreStats stats = local.GetStats().value();
    EXPECT_EQ(stats.used_bytes, 0);
    EXPECT_EQ(stats.leases, 0);
  }

  SharedFakeClock clock_;
  StoreServer server_;
  FaultProxy proxy_;
  RemoteStoreOptions options_;
  std::vector<SegmentKey> keys_;
  std::vector<SegmentSpec> specs_;
  std::vector<MissReason> misses_;
};

TEST_F(RemoteStoreFaultTest, WithoutAFaultAllIsWell) {
  EXPECT_FALSE(ReadUnder({}));
  EXPECT_FALSE(WriteUnder({}));
  EXPECT_FALSE(proxy_.fired());
}

TEST_F(RemoteStoreFaultTest, AReadThatIsCutAnywhereMissesAsUnreachable) {
  for (uint64_t at = 0; at < kContextBytes; at += 3001) {
    EXPECT_TRUE(ReadUnder({.kind = Fault::Kind::kCut, .at = at})) << at;
  }
  for (const MissReason miss : misses_) {
    EXPECT_EQ(miss, MissReason::kUnreachable);
  }
  EXPECT_FALSE(misses_.empty());
}

TEST_F(RemoteStoreFaultTest, AReadThatStallsMissesAsTimeout) {
  for (const uint64_t at : {uint64_t{0}, uint64_t{5000}, uint64_t{20000}}) {
    EXPECT_TRUE(ReadUnder({.kind = Fault::Kind::kStall, .at = at})) << at;
  }
  for (const MissReason miss : misses_) {
    EXPECT_EQ(miss, MissReason::kTimeout);
  }
  EXPECT_FALSE(misses_.empty());
}

TEST_F(RemoteStoreFaultTest, ARequestThatIsLostIsATimeout) {
  EXPECT_TRUE(ReadUnder({.kind = Fault::Kind::kStall, .to_client = false}));
  ASSERT_EQ(misses_.size(), kSegments);
  EXPECT_EQ(misses_.front(), MissReason::kTimeout);
}

TEST_F(RemoteStoreFaultTest, ACancelledCallWaitsForNothing) {
  options_.timeout = kForever;
  options_.transfer_timeout = kForever;
  LocalStore& local = server_.store();
  const Lease lease = WriteTestContext(local, specs_).value();
  const auto store = Connect();
  const std::vector<std::function<absl::Status()>> waits = {
      [&] { return store->ReadMany(lease.id, keys_).status(); },
      [&] { return store->Probe(keys_).status(); },
      [&] { return store->Acquire(keys_, kTestLease).status(); },
      [&] { return store->Renew(lease.id, kTestLease).status(); },
      [&] { return store->BeginWrite({TestSpec(99)}, kTestLease).status(); },
      [&] { return store->GetStats().status(); }};
  for (size_t i = 0; i < waits.size(); ++i) {
    proxy_.Inject({.kind = Fault::Kind::kStall, .at = 0});
    Call call;
    call.cancelled = [this] { return proxy_.fired(); };
    const CallScope scope(call);
    const absl::Time begin = absl::Now();
    EXPECT_EQ(waits[i]().code(), absl::StatusCode::kCancelled) << i;
    EXPECT_LT(absl::Now() - begin, kForever) << i;
    proxy_.Inject({});
  }
  EXPECT_EQ(store->GetStats()->integrity_failures, 0);
  AwaitNoWrites();
}

TEST_F(RemoteStoreFaultTest, ACancelledCallEndsItsLeaseStill) {
  options_.timeout = kForever;
  LocalStore& local = server_.store();
  const Lease lease = WriteTestContext(local, specs_).value();
  const auto store = Connect();
  Call call;
  call.cancelled = [] { return true; };
  const CallScope scope(call);
  EXPECT_TRUE(store->Release(lease.id).ok());
  EXPECT_EQ(local.GetStats()->leases, 0);
  // It waits for a store that hangs, but not for long.
  proxy_.Inject({.kind = Fault::Kind::kStall, .at = 0});
  EXPECT_EQ(store->Release(lease.id).code(),
            absl::StatusCode::kDeadlineExceeded);
  proxy_.Inject({});
}

TEST_F(RemoteStoreFaultTest, ADelayUnderTheDeadlineIsHarmless) {
  EXPECT_FALSE(ReadUnder(
      {.kind = Fault::Kind::kDelay, .at = 9000, .delay = kTimeout / 3}));
  EXPECT_TRUE(proxy_.fired() || misses_.empty());
}

TEST_F(RemoteStoreFaultTest, AFlippedByteOfAReadIsNeverReturned) {
  int noticed = 0;
  for (uint64_t at = 13; at < kContextBytes; at += 1777) {
    noticed += ReadUnder({.kind = Fault::Kind::kFlip, .at = at}) ? 1 : 0;
  }
  EXPECT_GT(noticed, 15) << "of 20; a flip in flow control may do nothing";
}

TEST_F(RemoteStoreFaultTest, SwappedBytesOfAReadAreNeverReturned) {
  int noticed = 0;
  for (uint64_t at = 101; at < kContextBytes; at += 2777) {
    noticed += ReadUnder({.kind = Fault::Kind::kSwap, .at = at}) ? 1 : 0;
  }
  EXPECT_GT(noticed, 8);
}

TEST_F(RemoteStoreFaultTest, AWriteThatIsCutAnywhereLeavesNothing) {
  for (uint64_t at = 0; at < 33000; at += 3001) {
    EXPECT_TRUE(
        WriteUnder({.kind = Fault::Kind::kCut, .to_client = false, .at = at}))
        << at;
  }
}

TEST_F(RemoteStoreFaultTest, AWriteThatStallsLeavesNothing) {
  for (const uint64_t at : {uint64_t{0}, uint64_t{9000}, uint64_t{30000}}) {
    EXPECT_TRUE(
        WriteUnder({.kind = Fault::Kind::kStall, .to_client = false, .at = at}))
        << at;
  }
}

TEST_F(RemoteStoreFaultTest, AWriteWhoseAnswersAreLostFailsInTime) {
  EXPECT_TRUE(WriteUnder({.kind = Fault::Kind::kStall, .at = 0}));
}

TEST_F(RemoteStoreFaultTest, AWriteWhoseAnswersAreCutFails) {
  EXPECT_TRUE(WriteUnder({.kind = Fault::Kind::kCut, .at = 60}));
}

TEST_F(RemoteStoreFaultTest, AFlippedByteOfAWriteIsNeverStored) {
  int noticed = 0;
  for (uint64_t at = 13; at < 33000; at += 1777) {
    noticed +=
        WriteUnder({.kind = Fault::Kind::kFlip, .to_client = false, .at = at})
            ? 1
            : 0;
  }
  EXPECT_GT(noticed, 14);
}

}  // namespace
}  // namespace winnow
