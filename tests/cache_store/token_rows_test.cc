#include "cache_store/format/token_rows.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

#include "cache_store/format/tail.h"

namespace winnow {
namespace {

// A tile in which every element has its own bytes.
std::vector<std::byte> NumberedTile(const KvTileShape& shape) {
  std::vector<std::byte> tile(shape.Bytes());
  const size_t size = KvDtypeSize(shape.dtype);
  for (size_t element = 0; element < tile.size() / size; ++element) {
    const auto number = static_cast<uint32_t>(element + 1);
    std::memcpy(tile.data() + element * size, &number, size);
  }
  return tile;
}

class TokenRowsTest : public testing::TestWithParam<KvDtype> {
 protected:
  const KvTileShape shape_ = {.head_dim = 32, .dtype = GetParam()};
  const size_t size_ = KvDtypeSize(GetParam());
  const std::vector<std::byte> tile_ = NumberedTile(shape_);
};

TEST_P(TokenRowsTest, AreTheTokensOfATileOneAfterTheOther) {
  std::vector<std::byte> keys(TokenRowBytes(shape_, 30));
  std::vector<std::byte> values(keys.size());
  TokensFromTile(tile_.data(), shape_, 10, 40, keys, values);
  for (int row = 0; row < 30; ++row) {
    for (int dim = 0; dim < 32; ++dim) {
      const size_t at = (static_cast<size_t>(row) * 32 + dim) * size_;
      EXPECT_EQ(
          std::memcmp(&keys[at], &tile_[shape_.KeyIndex(10 + row, dim) * size_],
                      size_),
          0);
      EXPECT_EQ(
          std::memcmp(&values[at],
                      &tile_[shape_.ValueIndex(10 + row, dim) * size_], size_),
          0);
    }
  }
}

TEST_P(TokenRowsTest, ComeBackBitForBitAndTouchNoOtherSlot) {
  const std::pair<int, int> ranges[] = {{0, 0},  {0, 1},   {0, 4},   {0, 33},
                                        {0, 64}, {31, 33}, {63, 64}, {5, 60}};
  for (const auto& [begin, end] : ranges) {
    std::vector<std::byte> keys(TokenRowBytes(shape_, end - begin));
    std::vector<std::byte> values(keys.size());
    TokensFromTile(tile_.data(), shape_, begin, end, keys, values);
    std::vector<std::byte> back(shape_.Bytes());
    TokensToTile(keys, values, shape_, begin, end, back.data());
    for (int slot = 0; slot < kBlockTokens; ++slot) {
      const bool copied = slot >= begin && slot < end;
      for (int dim = 0; dim < 32; ++dim) {
        for (const size_t element :
             {shape_.KeyIndex(slot, dim), shape_.ValueIndex(slot, dim)}) {
          uint32_t number = 0;
          uint32_t wanted = 0;
          std::memcpy(&number, &back[element * size_], size_);
          if (copied) {
            std::memcpy(&wanted, &tile_[element * size_], size_);
          }
          ASSERT_EQ(number, wanted) << begin << ".." << end << ", " << slot;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, TokenRowsTest,
                         testing::Values(KvDtype::kFloat32,
                                         KvDtype::kBfloat16));

SegmentShape TailShape(uint64_t first, uint64_t end) {
  return {.kind = SegmentKind::kTail,
          .tile = {.head_dim = 16, .dtype = KvDtype::kBfloat16},
          .num_layers = 1,
          .num_heads = 2,
          .first_token = first,
          .end_token = end};
}

TEST(TailTest, HoldsItsTokensWithoutPadding) {
  // 21 tokens x 2 heads x (key and value) x 16 dimensions x 2 bytes.
  EXPECT_EQ(TailShape(2872, 2893).PayloadBytes(), 21u * 2 * 2 * 16 * 2);
}

TEST(TailTest, IsCutWhereBlocksEnd) {
  const auto blocks = TailBlocks(TailShape(100, 200));
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].block, 1);
  EXPECT_EQ(blocks[0].begin, 36);
  EXPECT_EQ(blocks[0].end, 64);
  EXPECT_EQ(blocks[0].first_row, 0u);
  EXPECT_EQ(blocks[1].begin, 0);
  EXPECT_EQ(blocks[1].end, 64);
  EXPECT_EQ(blocks[1].first_row, 28u);
  EXPECT_EQ(blocks[2].end, 8);
  EXPECT_EQ(blocks[2].first_row, 92u);
}

TEST(TailTest, RowsOfHeadsAndBlocksDoNotOverlap) {
  const SegmentShape shape = TailShape(100, 200);
  std::vector<std::byte> payload(shape.PayloadBytes());
  const TailView<std::byte> tail(payload, shape);
  for (size_t head = 0; head < 2; ++head) {
    for (const TailBlock& block : TailBlocks(shape)) {
      for (const auto rows :
           {tail.keys(head, block), tail.values(head, block)}) {
        for (std::byte& byte : rows) {
          ASSERT_EQ(byte, std::byte{0}) << "written twice";
          byte = std::byte{1};
        }
      }
    }
  }
  for (const std::byte byte : payload) {
    ASSERT_EQ(byte, std::byte{1}) << "never written";
  }
}

}  // namespace
}  // namespace winnow
