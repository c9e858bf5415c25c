#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "cache_store/format/segment.h"
#include "cache_store/store/kv_store.h"
#include "cache_store/store/local_store.h"
#include "gpu/base/clock.h"

namespace winnow {

// Sizes of the stores that the contract runs on: sixteen test segments.
inline constexpr SegmentShape kTestShape = {
    .kind = SegmentKind::kRetrieval,
    .tile = {.head_dim = 16, .dtype = KvDtype::kBfloat16},
    .num_layers = 1,
    .num_heads = 1,
    .num_blocks = 1,
    .end_token = kBlockTokens};
inline constexpr size_t kTestSegments = 16;
inline const size_t kTestSegmentBytes = kTestShape.SegmentBytes();
inline constexpr absl::Duration kTestMaxLease = absl::Seconds(60);
inline constexpr absl::Duration kTestLease = absl::Seconds(10);
inline constexpr size_t kTestMaxLeases = 8;
inline constexpr size_t kTestMaxSegmentsPerWrite = 20;  // more than fit
inline constexpr size_t kTestGhosts = 4;

inline LocalStoreOptions TestStoreOptions(const Clock& clock) {
  return {.capacity_bytes = kTestSegments * kTestSegmentBytes,
          .max_lease = kTestMaxLease,
          .max_leases = kTestMaxLeases,
          .max_segments = 64,
          .max_segments_per_write = kTestMaxSegmentsPerWrite,
          .ghost_entries = kTestGhosts,
          .clock = &clock};
}

// A store under test, with what a test needs around it.
class KvStoreFixture {
 public:
  virtual ~KvStoreFixture() = default;

  virtual KvStore& store() = 0;
  // The local store in whose memory the segments lie; store() itself if it is
  // one.
  virtual LocalStore& backing() = 0;
  // Moves the clock of the leases.
  virtual void AdvanceTime(absl::Duration step) = 0;
  // Begins a new, empty incarnation.  Nothing of the old one is in use.
  virtual void Restart() = 0;
};

// How a suite gets its store.
struct KvStoreFactory {
  const char* name;
  std::unique_ptr<KvStoreFixture> (*create)();
};
inline void PrintTo(const KvStoreFactory& factory, std::ostream* out) {
  *out << factory.name;
}

class LocalStoreFixture final : public KvStoreFixture {
 public:
  LocalStoreFixture() { Restart(); }

  KvStore& store() override { return *store_; }
  LocalStore& backing() override { return *store_; }
  void AdvanceTime(absl::Duration step) override { clock_.Advance(step); }
  void Restart() override {
    store_ = LocalStore::Create(TestStoreOptions(clock_)).value();
  }

 private:
  FakeClock clock_;
  std::unique_ptr<LocalStore> store_;
};

// The key that is called `number` here; keys are in the order of the numbers.
inline SegmentKey TestKey(uint32_t number) {
  SegmentKey key;
  for (int i = 0; i < 4; ++i) {
    key.bytes[i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  }
  key.bytes[31] = 0x5A;
  return key;
}

inline SegmentSpec TestSpec(uint32_t number, uint32_t rank = 0) {
  return {.key = TestKey(number),
          .kind = SegmentKind::kRetrieval,
          .rank = rank,
          .bytes = kTestSegmentBytes};
}

// The byte at a place of the payload of a key.
inline std::byte TestByte(const SegmentKey& key, size_t offset) {
  const uint32_t seed = key.bytes[3] * 31u + key.bytes[2] * 17u;
  return static_cast<std::byte>(seed + offset * 7 + offset / 251);
}

// Fills a segment and seals it.  `segment` is kTestSegmentBytes long.
inline void FillTestSegment(const SegmentKey& key,
                            std::span<std::byte> segment) {
  const std::span<std::byte> payload = segment.subspan(kSegmentHeaderBytes);
  for (size_t i = 0; i < payload.size(); ++i) {
    payload[i] = TestByte(key, i);
  }
  SealSegment({.key = key, .shape = kTestShape}, segment);
}

// Whether bytes are exactly what FillTestSegment writes for a key.
inline bool IsTestSegment(const SegmentKey& key,
                          std::span<const std::byte> segment) {
  if (segment.size() != kTestSegmentBytes ||
      VerifySegment(key, kTestShape.kind, segment) != MissReason::kNone) {
    return false;
  }
  const std::span<const std::byte> payload =
      segment.subspan(kSegmentHeaderBytes);
  for (size_t i = 0; i < payload.size(); ++i) {
    if (payload[i] != TestByte(key, i)) {
      return false;
    }
  }
  return true;
}

// Allocates, fills and seals segment `index` of a write.
inline absl::Status WriteTestSegment(ContextWriter& writer, size_t index,
                                     const SegmentKey& key) {
  const absl::StatusOr<std::span<std::byte>> memory = writer.Allocate(index);
  if (!memory.ok()) {
    return memory.status();
  }
  if (memory->empty()) {
    return absl::OkStatus();  // the store has it
  }
  FillTestSegment(key, *memory);
  return writer.Seal(index);
}

// Writes whole contexts of test segments.
inline absl::StatusOr<Lease> WriteTestContext(
    KvStore& store, const std::vector<SegmentSpec>& specs,
    absl::Duration ttl = kTestLease) {
  absl::StatusOr<std::unique_ptr<ContextWriter>> writer =
      store.BeginWrite(specs, ttl);
  if (!writer.ok()) {
    return writer.status();
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    absl::Status written = WriteTestSegment(**writer, i, specs[i].key);
    if (!written.ok()) {
      return written;
    }
  }
  return (*writer)->Commit();
}

class KvStoreContractTest : public testing::TestWithParam<KvStoreFactory> {
 protected:
  KvStoreContractTest() : fixture_(GetParam().create()) {}

  KvStore& store() { return fixture_->store(); }
  KvStoreFixture& fixture() { return *fixture_; }

  // Writes segments first..last with rank 0 and lets the lease go.
  void WriteUnleased(uint32_t first, uint32_t last) {
    const Lease lease = WriteLeased(first, last);
    ASSERT_TRUE(store().Release(lease.id).ok());
  }
  Lease WriteLeased(uint32_t first, uint32_t last) {
    std::vector<SegmentSpec> specs;
    for (uint32_t i = first; i <= last; ++i) {
      specs.push_back(TestSpec(i));
    }
    return WriteTestContext(store(), specs).value();
  }

  MissReason ProbeOne(uint32_t number) {
    return store().Probe(std::vector{TestKey(number)}).value().segments.at(0);
  }
  AcquireResult Acquire(std::initializer_list<uint32_t> numbers,
                        absl::Duration ttl = kTestLease) {
    return store().Acquire(Keys(numbers), ttl).value();
  }
  ReadResult Read(LeaseId lease, uint32_t number) {
    return store().Read(lease, TestKey(number)).value();
  }
  StoreStats Stats() { return store().GetStats().value(); }

  static std::vector<SegmentKey> Keys(std::initializer_list<uint32_t> numbers) {
    std::vector<SegmentKey> keys;
    for (const uint32_t number : numbers) {
      keys.push_back(TestKey(number));
    }
    return keys;
  }

  // Flips one bit of a stored segment, as failing memory does.
  void Corrupt(uint32_t number) {
    LocalStore& backing = fixture_->backing();
    const AcquireResult acquired =
        backing.Acquire(Keys({number}), kTestLease).value();
    const LeaseHandle lease(backing, acquired.lease.id);
    const ReadResult read = backing.Read(lease.id(), TestKey(number)).value();
    ASSERT_EQ(read.miss, MissReason::kNone);
    const_cast<std::byte&>(read.view.bytes[kTestSegmentBytes / 2]) ^=
        std::byte{0x10};
  }

 private:
  const std::unique_ptr<KvStoreFixture> fixture_;
};

// Runs the contract on a store: one line in a source of the suite's program.
#define WINNOW_KV_STORE_CONTRACT(Name, Fixture)                                \
  INSTANTIATE_TEST_SUITE_P(                                                    \
      Name, KvStoreContractTest,                                               \
      testing::Values(KvStoreFactory{#Name,                                    \
                                     []() -> std::unique_ptr<KvStoreFixture> { \
                                       return std::make_unique<Fixture>();     \
                                     }}),                                      \
      [](const auto& suite) { return std::string(suite.param.name); })

}  // namespace winnow
