#include "cache_store/store/arena.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace winnow {
namespace {

constexpr size_t kUnit = kArenaAlignment;

size_t ResidentBytes(std::span<const std::byte> memory) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((memory.size() + page - 1) / page);
  EXPECT_EQ(mincore(const_cast<std::byte*>(memory.data()), memory.size(),
                    pages.data()),
            0);
  return page * std::ranges::count_if(
                    pages, [](unsigned char state) { return state & 1; });
}

TEST(ArenaTest, RefusesACapacityOfZeroOrOffTheAlignment) {
  EXPECT_EQ(Arena::Create(0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Arena::Create(kUnit + 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ArenaTest, SaysThatACapacityCannotBeMapped) {
  EXPECT_FALSE(Arena::Create(size_t{1} << 62).ok());
}

TEST(ArenaTest, MemoryIsAlignedZeroedAndWritable) {
  const auto arena = Arena::Create(4 * kUnit).value();
  const std::span<std::byte> memory =
      arena->Memory({.offset = kUnit, .bytes = kUnit}, 100);
  EXPECT_EQ(memory.size(), 100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kUnit, 0);
  EXPECT_EQ(memory[99], std::byte{0});
  std::ranges::fill(memory, std::byte{7});
  EXPECT_EQ(memory[99], std::byte{7});
}

TEST(ArenaTest, MemoryCostsNothingBeforeItsUseAndAfterDiscard) {
  constexpr size_t kCapacity = size_t{64} << 20;
  const auto arena = Arena::Create(kCapacity).value();
  const Extent all{.offset = 0, .bytes = kCapacity};
  const std::span<std::byte> memory = arena->Memory(all, kCapacity);
  EXPECT_EQ(ResidentBytes(memory), 0);
  std::memset(memory.data(), 1, kCapacity);
  EXPECT_EQ(ResidentBytes(memory), kCapacity);
  arena->Discard(all);
  EXPECT_EQ(ResidentBytes(memory), 0);
}

TEST(ArenaTest, DiscardSparesTheNeighboursOnItsPages) {
  const auto arena = Arena::Create(size_t{1} << 20).value();
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const std::span<std::byte> memory = arena->Memory(
      {.offset = 0, .bytes = arena->capacity_bytes()}, arena->capacity_bytes());
  std::ranges::fill(memory, std::byte{1});
  arena->Discard({.offset = kUnit, .bytes = 3 * page});
  EXPECT_EQ(memory[kUnit - 1], std::byte{1});
  EXPECT_EQ(memory[kUnit + 3 * page], std::byte{1});
}

// An extent that the map must have.
Extent Take(ExtentMap& extents, size_t bytes) {
  const std::optional<Extent> taken = extents.Allocate(bytes);
  EXPECT_TRUE(taken.has_value());
  return taken.value_or(Extent{});
}

TEST(ExtentMapTest, RoundsUpToTheAlignment) {
  ExtentMap extents(4 * kUnit);
  EXPECT_EQ(extents.Allocate(1), (Extent{.offset = 0, .bytes = kUnit}));
  EXPECT_EQ(extents.Allocate(kUnit + 1),
            (Extent{.offset = kUnit, .bytes = 2 * kUnit}));
  EXPECT_EQ(extents.free_bytes(), kUnit);
}

TEST(ExtentMapTest, TakesTheSmallestPieceThatFits) {
  ExtentMap extents(10 * kUnit);
  const Extent large = Take(extents, 3 * kUnit);
  extents.Allocate(kUnit);
  const Extent small = Take(extents, 2 * kUnit);
  extents.Allocate(4 * kUnit);
  extents.Free(large);
  extents.Free(small);
  EXPECT_EQ(extents.Allocate(2 * kUnit), small);
  EXPECT_EQ(Take(extents, 2 * kUnit).offset, large.offset);
}

TEST(ExtentMapTest, HasNothingBeyondItsCapacity) {
  ExtentMap extents(2 * kUnit);
  EXPECT_FALSE(extents.Allocate(2 * kUnit + 1).has_value());
  EXPECT_FALSE(extents.Allocate(SIZE_MAX).has_value());
  EXPECT_TRUE(extents.Allocate(2 * kUnit).has_value());
  EXPECT_FALSE(extents.Allocate(1).has_value());
}

TEST(ExtentMapTest, AFreePieceOfTheWrongShapeDoesNotServe) {
  ExtentMap extents(3 * kUnit);
  const Extent first = Take(extents, kUnit);
  extents.Allocate(kUnit);
  const Extent last = Take(extents, kUnit);
  extents.Free(first);
  extents.Free(last);
  EXPECT_EQ(extents.free_bytes(), 2 * kUnit);
  EXPECT_EQ(extents.largest_free_bytes(), kUnit);
  EXPECT_FALSE(extents.Allocate(2 * kUnit).has_value());
}

TEST(ExtentMapTest, JoinsFreedNeighboursInAnyOrder) {
  std::vector<size_t> order = {0, 1, 2};
  do {
    ExtentMap extents(3 * kUnit);
    std::array<Extent, 3> taken;
    for (Extent& extent : taken) {
      extent = Take(extents, kUnit);
    }
    for (const size_t i : order) {
      extents.Free(taken[i]);
    }
    EXPECT_EQ(extents.largest_free_bytes(), 3 * kUnit);
  } while (std::ranges::next_permutation(order).found);
}

TEST(ExtentMapTest, NeverGivesOneByteTwice) {
  constexpr uint32_t kSeed = 20240701;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  constexpr size_t kUnits = 200;
  ExtentMap extents(kUnits * kUnit);
  std::vector<bool> used(kUnits, false);
  std::vector<Extent> taken;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const size_t wanted = (1 + random() % 20) * kUnit;
      if (const std::optional<Extent> extent = extents.Allocate(wanted)) {
        for (size_t i = 0; i < wanted / kUnit; ++i) {
          ASSERT_FALSE(used[extent->offset / kUnit + i]);
          used[extent->offset / kUnit + i] = true;
        }
        taken.push_back(*extent);
      } else {
        size_t run = 0;  // there is really no such piece
        for (const bool unit : used) {
          run = unit ? 0 : run + 1;
          ASSERT_LT(run * kUnit, wanted);
        }
      }
    } else if (!taken.empty()) {
      std::swap(taken[random() % taken.size()], taken.back());
      const Extent extent = taken.back();
      taken.pop_back();
      for (size_t i = 0; i < extent.bytes / kUnit; ++i) {
        used[extent.offset / kUnit + i] = false;
      }
      extents.Free(extent);
    }
    ASSERT_EQ(extents.free_bytes(),
              kUnit * static_cast<size_t>(std::ranges::count(used, false)));
  }
}

}  // namespace
}  // namespace winnow
