// Random operations on the local store and on its model.

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "tests/cache_store/store_model.h"
#include "tests/contract/kv_store_fixture.h"

namespace winnow {
namespace {

class LocalStoreModelTest : public testing::Test {
 protected:
  static constexpr uint32_t kNumbers = 30;
  static constexpr int kSteps = 10'000;

  uint32_t Random(uint32_t below) { return random_() % below; }
  absl::Duration RandomTtl() { return absl::Seconds(1 + Random(20)); }

  std::vector<uint32_t> RandomNumbers(uint32_t most) {
    std::vector<uint32_t> numbers(kNumbers);
    for (uint32_t i = 0; i < kNumbers; ++i) {
      numbers[i] = i;
    }
    std::ranges::shuffle(numbers, random_);
    numbers.resize(1 + Random(most));
    return numbers;
  }
  static std::vector<SegmentKey> Keys(const std::vector<uint32_t>& numbers) {
    std::vector<SegmentKey> keys;
    keys.reserve(numbers.size());
    for (const uint32_t number : numbers) {
      keys.push_back(TestKey(number));
    }
    return keys;
  }
  // A live lease most of the time; else one that never was.
  LeaseId RandomLease() {
    if (model_.leases.empty() || Random(20) == 0) {
      return 42;
    }
    return std::next(model_.leases.begin(), Random(model_.leases.size()))
        ->first;
  }
  int RandomWrite() {
    return std::next(model_.writes.begin(), Random(model_.writes.size()))
        ->first;
  }

  void Step() {
    switch (Random(14)) {
      case 0:
      case 1:
        return BeginWrite();
      case 2:
      case 3:
      case 4:
        return FillOne();
      case 5:
        return Commit();
      case 6:
        return Abandon();
      case 7:
        return Acquire();
      case 8:
      case 9:
        return Read();
      case 10:
        return DropView();
      case 11:
        return RenewOrRelease();
      case 12:
        return RemoveOrList();
      default:
        return Advance();
    }
  }

  void BeginWrite() {
    ModelWrite write{.slots = {}, .ttl = RandomTtl()};
    std::vector<SegmentSpec> specs;
    for (const uint32_t number : RandomNumbers(6)) {
      specs.push_back(TestSpec(number, Random(4)));
      write.slots.push_back(
          {.spec = specs.back(), .number = number, .present = nullptr});
    }
    auto writer = store().BeginWrite(specs, write.ttl);
    const int id = ++last_write_;
    if (model_.BeginWrite(id, write)) {
      ASSERT_TRUE(writer.ok()) << writer.status();
      writers_[id] = *std::move(writer);
    } else {
      ASSERT_EQ(writer.status().code(), absl::StatusCode::kResourceExhausted);
    }
  }

  void FillOne() {
    if (model_.writes.empty()) {
      return;
    }
    const int id = RandomWrite();
    ModelWrite& write = model_.writes[id];
    const auto open = std::ranges::find_if(write.slots, [](const auto& slot) {
      return slot.present == nullptr && !slot.sealed;
    });
    if (open == write.slots.end()) {
      return Commit(id);
    }
    open->present = model_.Find(open->number);
    const size_t index = open - write.slots.begin();
    const auto memory = writers_[id]->Allocate(index).value();
    ASSERT_EQ(memory.empty(), open->present != nullptr);
    if (!memory.empty()) {
      FillTestSegment(TestKey(open->number), memory);
      ASSERT_TRUE(writers_[id]->Seal(index).ok());
      open->sealed = true;
    }
  }

  void Commit() {
    if (!model_.writes.empty()) {
      Commit(RandomWrite());
    }
  }
  void Commit(int id) {
    const ModelWrite& write = model_.writes[id];
    const bool complete =
        std::ranges::all_of(write.slots, [](const auto& slot) {
          return slot.present != nullptr || slot.sealed;
        });
    const absl::StatusOr<Lease> lease = writers_[id]->Commit();
    if (!complete) {
      ASSERT_EQ(lease.status().code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    const absl::StatusCode expected = model_.Commit(id);
    ASSERT_EQ(lease.status().code(), expected);
    if (lease.ok()) {
      model_.leases[lease->id] = std::move(model_.committed);
    }
    model_.writes.erase(id);
    writers_.erase(id);
  }

  void Abandon() {
    if (!model_.writes.empty() && Random(3) == 0) {
      const int id = RandomWrite();
      model_.writes.erase(id);
      writers_.erase(id);
    }
  }

  void Acquire() {
    const std::vector<uint32_t> numbers = RandomNumbers(3);
    const absl::Duration ttl = RandomTtl();
    model_.Expire();
    std::vector<MissReason> misses;
    std::vector<ModelSegmentPtr> found;
    for (const uint32_t number : numbers) {
      misses.push_back(model_.Probe(number));
      if (misses.back() == MissReason::kNone) {
        found.push_back(model_.Find(number));
      }
    }
    ASSERT_EQ(store().Probe(Keys(numbers)).value().segments, misses);
    const auto acquired = store().Acquire(Keys(numbers), ttl);
    const bool complete = found.size() == numbers.size();
    if (complete && model_.LeaseLimitReached()) {
      ASSERT_EQ(acquired.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    ASSERT_EQ(acquired.value().misses, misses);
    ASSERT_EQ(acquired->complete(), complete);
    model_.counted.hits += found.size();
    model_.counted.misses += numbers.size() - found.size();
    if (complete) {
      model_.Touch(found);
      ModelLease& lease = model_.leases[acquired->lease.id];
      lease.deadline = model_.now + ttl;
      for (const ModelSegmentPtr& segment : found) {
        lease.segments[segment->number] = segment;
      }
    }
  }

  void Read() {
    model_.Expire();
    const LeaseId id = RandomLease();
    const auto lease = model_.leases.find(id);
    uint32_t number = Random(kNumbers);
    MissReason expected = MissReason::kExpired;
    if (lease != model_.leases.end()) {
      const auto& segments = lease->second.segments;
      if (Random(10) != 0) {
        number = std::next(segments.begin(), Random(segments.size()))->first;
      }
      if (segments.contains(number)) {
        expected = MissReason::kNone;
      } else if (expected = model_.Probe(number);
                 expected == MissReason::kNone) {
        expected = MissReason::kAbsent;
      }
    }
    ReadResult read = store().Read(id, TestKey(number)).value();
    ASSERT_EQ(read.miss, expected);
    if (expected != MissReason::kNone) {
      ++model_.counted.misses;
      return;
    }
    model_.counted.read_bytes += kTestSegmentBytes;
    ASSERT_TRUE(IsTestSegment(TestKey(number), read.view.bytes));
    if (Random(3) == 0 && views_.size() < 3) {
      views_.push_back(std::move(read.view));
      model_.views.push_back(lease->second.segments.at(number));
    }
  }

  void DropView() {
    if (!views_.empty()) {
      const uint32_t index = Random(views_.size());
      ASSERT_TRUE(IsTestSegment(TestKey(model_.views[index]->number),
                                views_[index].bytes));
      views_.erase(views_.begin() + index);
      model_.views.erase(model_.views.begin() + index);
    }
  }

  void RenewOrRelease() {
    model_.Expire();
    const LeaseId id = RandomLease();
    const bool live = model_.leases.contains(id);
    if (Random(2) == 0) {
      const absl::Duration ttl = RandomTtl();
      ASSERT_EQ(store().Renew(id, ttl).ok(), live);
      if (live) {
        model_.leases[id].deadline = model_.now + ttl;
      }
    } else {
      ASSERT_EQ(store().Release(id).ok(), live);
      model_.leases.erase(id);
    }
  }

  void RemoveOrList() {
    if (Random(2) == 0) {
      const std::vector<uint32_t> numbers = RandomNumbers(2);
      size_t hidden = 0;
      for (const uint32_t number : numbers) {
        if (const ModelSegmentPtr segment = model_.Find(number)) {
          segment->visible = false;
          model_.visible.erase(number);
          ++hidden;
        }
      }
      ASSERT_EQ(store().Remove(Keys(numbers)).value(), hidden);
      return;
    }
    const uint32_t after = Random(kNumbers);
    const size_t limit = Random(6);
    std::vector<uint32_t> expected;
    for (auto entry = model_.visible.upper_bound(after);
         entry != model_.visible.end() && expected.size() < limit; ++entry) {
      expected.push_back(entry->first);
    }
    const std::vector<SegmentSpec> page =
        store().List(TestKey(after), limit).value();
    std::vector<SegmentKey> listed;
    listed.reserve(page.size());
    for (const SegmentSpec& spec : page) {
      listed.push_back(spec.key);
    }
    ASSERT_EQ(listed, Keys(expected));
  }

  void Advance() {
    const absl::Duration step = absl::Milliseconds(Random(3000));
    model_.now += step;
    fixture_.AdvanceTime(step);
  }

  void CompareStats() {
    model_.Expire();
    const StoreStats stats = store().GetStats().value();
    ASSERT_EQ(stats.used_bytes, model_.Used() * kTestSegmentBytes);
    ASSERT_EQ(stats.reserved_bytes, model_.Reserved() * kTestSegmentBytes);
    ASSERT_LE(stats.used_bytes + stats.reserved_bytes, stats.capacity_bytes);
    ASSERT_EQ(stats.segments, model_.visible.size());
    ASSERT_EQ(stats.leases, model_.leases.size());
    ASSERT_EQ(stats.writes_in_flight, model_.writes.size());
    ASSERT_EQ(stats.written_bytes, model_.counted.written_bytes);
    ASSERT_EQ(stats.read_bytes, model_.counted.read_bytes);
    ASSERT_EQ(stats.hits, model_.counted.hits);
    ASSERT_EQ(stats.misses, model_.counted.misses);
    ASSERT_EQ(stats.evictions, model_.counted.evictions);
    ASSERT_EQ(stats.duplicate_writes, model_.counted.duplicate_writes);
    ASSERT_EQ(stats.integrity_failures, 0);
  }

  KvStore& store() { return fixture_.store(); }

  std::mt19937 random_;
  LocalStoreFixture fixture_;
  Model model_;
  int last_write_ = 0;
  std::map<int, std::unique_ptr<ContextWriter>> writers_;
  std::vector<SegmentView> views_;
};

TEST_F(LocalStoreModelTest, AgreesWithTheModelOverRandomOperations) {
  constexpr uint32_t kSeed = 7;
  random_.seed(kSeed);
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", step " << step);
    Step();
    if (HasFatalFailure()) {
      return;
    }
    CompareStats();
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_GT(model_.counted.evictions, 100);  // it went everywhere
  EXPECT_GT(model_.counted.duplicate_writes, 100);
  EXPECT_GT(model_.counted.read_bytes, 100 * kTestSegmentBytes);
}

}  // namespace
}  // namespace winnow
