// Every backend's packing against the reference, bit for bit, and what the
// sums of an anchor rest on.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "gpu/base/bfloat16.h"
#include "tests/contract/backend_fixture.h"

namespace winnow {
namespace {

constexpr KvDtype kDtypes[] = {KvDtype::kFloat32, KvDtype::kBfloat16};

class PackingParityTest : public BackendTest {};
WINNOW_INSTANTIATE_BACKENDS(PackingParityTest);

// Tiles of one head, filled with a pattern that no operation may disturb
// outside of its slots.
class TileArray {
 public:
  TileArray(Backend& backend, const KvTileShape& shape, int count)
      : shape_(shape),
        memory_(*backend.Allocate(count * shape.Bytes())),
        tiles_(count) {
    std::memset(memory_.address(), 0x5a, memory_.bytes());
    for (int i = 0; i < count; ++i) {
      tiles_[i] = memory_.as<std::byte>() + i * shape.Bytes();
    }
  }
  std::span<void* const> tiles() const { return tiles_; }
  void* tile(int i) const { return tiles_[i]; }
  std::vector<std::byte> Bytes() const {
    const auto* begin = memory_.as<std::byte>();
    return {begin, begin + memory_.bytes()};
  }

 private:
  KvTileShape shape_;
  DeviceBuffer memory_;
  std::vector<void*> tiles_;
};

std::vector<float> RandomFloats(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return normal(random); });
  // What rounding may get wrong: ties, carries into the exponent, overflow to
  // infinity, denormals, signed zeros.
  constexpr float kHard[] = {
      1.00390625f, 1.01171875f, 1.99999988f,
      3.4e38f,     -3.4e38f,    1e-40f,
      -1e-44f,     -0.0f,       std::numeric_limits<float>::infinity()};
  for (size_t i = 0; i < values.size(); i += 11) {
    values[i] = kHard[i / 11 % std::size(kHard)];
  }
  return values;
}

void ExpectPacksLikeTheReference(Backend& backend, Backend& reference,
                                 const KvTileShape& shape, int num_tokens,
                                 int first_slot) {
  constexpr int kHeads = 3;
  const int64_t stride = kHeads * shape.head_dim + 5;
  const auto keys = RandomFloats(stride * num_tokens, 1);
  const auto values = RandomFloats(stride * num_tokens, 2);
  std::vector<std::byte> packed[2];
  for (Backend* side : {&backend, &reference}) {
    std::vector<TileArray> arrays;
    std::vector<PackArgs> heads;
    for (int h = 0; h < kHeads; ++h) {
      arrays.emplace_back(*side, shape, 4);
      heads.push_back({.key = keys.data() + h * shape.head_dim,
                       .value = values.data() + h * shape.head_dim,
                       .token_stride = stride,
                       .num_tokens = num_tokens,
                       .shape = shape,
                       .tiles = arrays.back().tiles(),
                       .first_slot = first_slot});
    }
    ASSERT_TRUE(side->Pack(heads).ok());
    for (const TileArray& array : arrays) {
      const auto bytes = array.Bytes();
      auto& all = packed[side == &reference ? 1 : 0];
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
  }
  EXPECT_EQ(packed[0], packed[1])
      << "head_dim " << shape.head_dim << ", tokens " << num_tokens
      << ", first slot " << first_slot;
}

TEST_P(PackingParityTest, PacksLikeTheReferenceForOddSizes) {
  for (const int head_dim : {16, 32, 64, 80, 96, 128, 256}) {
    for (const KvDtype dtype : kDtypes) {
      for (const int num_tokens : {0, 1, 31, 33, 64, 100}) {
        for (const int first_slot : {0, 1, 31, 63, 64, 150}) {
          ExpectPacksLikeTheReference(backend(), reference(), {head_dim, dtype},
                                      num_tokens, first_slot);
        }
      }
    }
  }
}

TEST_P(PackingParityTest, RoundsToNearestWithTiesToEven) {
  const KvTileShape shape{16, KvDtype::kBfloat16};
  TileArray array(backend(), shape, 1);
  std::vector<float> key(16, 1.0f);
  key[0] = 1.00390625f;                        // halfway, down to even
  key[1] = 1.01171875f;                        // halfway, up to even
  key[2] = std::nextafter(1.00390625f, 2.0f);  // just above halfway
  const PackArgs head{.key = key.data(),
                      .value = key.data(),
                      .token_stride = 16,
                      .num_tokens = 1,
                      .shape = shape,
                      .tiles = array.tiles()};
  ASSERT_TRUE(backend().Pack({&head, 1}).ok());
  const auto* tile = static_cast<const uint16_t*>(array.tile(0));
  EXPECT_EQ(tile[0], 0x3f80);
  EXPECT_EQ(tile[1], 0x3f82);
  EXPECT_EQ(tile[2], 0x3f81);
  EXPECT_EQ(tile[shape.ValueIndex(0, 1)], 0x3f82);
}

// A tile full of random finite numbers.
void FillTile(Backend& backend, const KvTileShape& shape, TileArray& array,
              unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> tokens(size_t{kBlockTokens} * shape.head_dim);
  std::ranges::generate(tokens, [&] { return normal(random); });
  const PackArgs head{.key = tokens.data(),
                      .value = tokens.data(),
                      .token_stride = shape.head_dim,
                      .num_tokens = kBlockTokens,
                      .shape = shape,
                      .tiles = array.tiles()};
  ASSERT_TRUE(backend.Pack({&head, 1}).ok());
}

struct Sums {
  explicit Sums(int head_dim) : key(head_dim, 0.1f), value(head_dim, 0.2f) {}
  std::vector<float> key;
  std::vector<float> value;
  bool operator==(const Sums&) const = default;
};

absl::Status Fold(Backend& backend, const void* tile, const KvTileShape& shape,
                  int begin, int end, Sums& sums) {
  const FoldArgs head{.tile = tile,
                      .shape = shape,
                      .begin = begin,
                      .end = end,
                      .key_sum = sums.key.data(),
                      .value_sum = sums.value.data()};
  return backend.Fold({&head, 1});
}

TEST_P(PackingParityTest, FoldsLikeTheReferenceBitForBit) {
  for (const int head_dim : {16, 64, 80, 128, 256}) {
    for (const KvDtype dtype : kDtypes) {
      const KvTileShape shape{head_dim, dtype};
      TileArray array(backend(), shape, 1);
      FillTile(backend(), shape, array, 3);
      for (const auto& [begin, end] :
           {std::pair(0, 64), {4, 64}, {0, 0}, {31, 33}, {63, 64}, {5, 17}}) {
        Sums actual(head_dim);
        Sums expected(head_dim);
        ASSERT_TRUE(
            Fold(backend(), array.tile(0), shape, begin, end, actual).ok());
        ASSERT_TRUE(
            Fold(reference(), array.tile(0), shape, begin, end, expected).ok());
        EXPECT_TRUE(actual == expected)
            << "head_dim " << head_dim << " [" << begin << ", " << end << ")";
      }
    }
  }
}

TEST_P(PackingParityTest, FoldingPieceByPieceEqualsFoldingInOneGo) {
  for (const KvDtype dtype : kDtypes) {
    const KvTileShape shape{64, dtype};
    TileArray array(backend(), shape, 1);
    FillTile(backend(), shape, array, 4);
    Sums whole(64);
    ASSERT_TRUE(Fold(backend(), array.tile(0), shape, 0, 64, whole).ok());
    Sums pieces(64);
    int begin = 0;
    for (const int end : {1, 4, 31, 32, 50, 64}) {
      ASSERT_TRUE(
          Fold(backend(), array.tile(0), shape, begin, end, pieces).ok());
      begin = end;
    }
    EXPECT_TRUE(pieces == whole);
  }
}

TEST_P(PackingParityTest, CopiesTheSlotsAndNothingElse) {
  for (const int head_dim : {16, 80, 128}) {
    for (const KvDtype dtype : kDtypes) {
      const KvTileShape shape{head_dim, dtype};
      TileArray source(backend(), shape, 1);
      FillTile(backend(), shape, source, 5);
      for (const auto& [begin, end] :
           {std::pair(0, 64), {0, 4}, {30, 35}, {40, 40}, {32, 64}}) {
        TileArray actual(backend(), shape, 1);
        TileArray expected(backend(), shape, 1);
        CopySlotsArgs copy{.source = source.tile(0),
                           .target = actual.tile(0),
                           .shape = shape,
                           .begin = begin,
                           .end = end};
        ASSERT_TRUE(backend().CopySlots({&copy, 1}).ok());
        copy.target = expected.tile(0);
        ASSERT_TRUE(reference().CopySlots({&copy, 1}).ok());
        EXPECT_EQ(actual.Bytes(), expected.Bytes())
            << "[" << begin << ", " << end << ")";
      }
    }
  }
}

TEST_P(PackingParityTest, BadSlotsAreRefused) {
  const KvTileShape shape{16, KvDtype::kFloat32};
  TileArray array(backend(), shape, 1);
  Sums sums(16);
  EXPECT_EQ(Fold(backend(), array.tile(0), shape, 0, 65, sums).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Fold(backend(), array.tile(0), shape, 5, 4, sums).code(),
            absl::StatusCode::kInvalidArgument);
  const std::vector<float> token(16);
  const PackArgs head{.key = token.data(),
                      .value = token.data(),
                      .token_stride = 16,
                      .num_tokens = 1,
                      .shape = shape,
                      .tiles = array.tiles(),
                      .first_slot = 64};
  EXPECT_EQ(backend().Pack({&head, 1}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
