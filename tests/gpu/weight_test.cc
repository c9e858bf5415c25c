#include "gpu/weight.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "gpu/float16.h"

namespace winnow {
namespace {

std::string ReadGolden(const std::string& name) {
  std::ifstream file(std::string(WINNOW_GOLDEN_DIR "/weights/") + name,
                     std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class WeightTest : public testing::TestWithParam<int> {
 protected:
  WeightType type() const { return static_cast<WeightType>(GetParam()); }
  std::string name() const { return std::string(GetWeightBlock(type()).name); }
};

TEST_P(WeightTest, DequantizesToTheValuesOfPyPiGguf) {
  const std::string blocks = ReadGolden(name() + ".blocks");
  const std::string golden = ReadGolden(name() + ".f32");
  ASSERT_FALSE(blocks.empty());
  const WeightBlock& block = GetWeightBlock(type());
  ASSERT_EQ(blocks.size() % block.bytes, 0u);
  const size_t count = blocks.size() / block.bytes * block.elements;
  ASSERT_EQ(golden.size(), count * sizeof(float));
  std::vector<float> expected(count);
  std::memcpy(expected.data(), golden.data(), golden.size());

  std::vector<float> output(count, -1);
  Dequantize(type(), reinterpret_cast<const std::byte*>(blocks.data()),
             static_cast<int64_t>(count), output.data());
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(output[i], expected[i]) << name() << " weight " << i;
  }
}

TEST_P(WeightTest, ReadsBlocksAtAnyAddress) {
  const std::string blocks = ReadGolden(name() + ".blocks");
  const WeightBlock& block = GetWeightBlock(type());
  const size_t count = blocks.size() / block.bytes * block.elements;
  std::vector<float> aligned(count);
  std::vector<float> shifted(count);
  Dequantize(type(), reinterpret_cast<const std::byte*>(blocks.data()),
             static_cast<int64_t>(count), aligned.data());
  const std::string moved = "x" + blocks;
  Dequantize(type(), reinterpret_cast<const std::byte*>(moved.data()) + 1,
             static_cast<int64_t>(count), shifted.data());
  EXPECT_EQ(aligned, shifted);
}

TEST_P(WeightTest, RowsAreWholeBlocks) {
  const WeightBlock& block = GetWeightBlock(type());
  const WeightView view = {
      .type = type(), .rows = 3, .cols = int64_t{2} * block.elements};
  EXPECT_EQ(view.RowBytes(), 2 * block.bytes);
  EXPECT_EQ(view.Bytes(), 6 * block.bytes);
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, WeightTest, testing::Range(0, kNumWeightTypes),
    [](const testing::TestParamInfo<int>& test) {
      return std::string(
          GetWeightBlock(static_cast<WeightType>(test.param)).name);
    });

TEST(HalfToFloatTest, IsExactForZerosSubnormalsAndInfinity) {
  EXPECT_EQ(HalfToFloat(0x0000), 0.0f);
  EXPECT_TRUE(std::signbit(HalfToFloat(0x8000)));
  EXPECT_EQ(HalfToFloat(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(HalfToFloat(0x83ff), -std::ldexp(1023.0f, -24));
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0xfc00), -INFINITY);
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7e00)));
}

}  // namespace
}  // namespace winnow
