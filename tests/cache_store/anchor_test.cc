#include "cache_store/format/anchor.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace winnow {
namespace {

// Zeroed bytes that start on a multiple of 64.
class Payload {
 public:
  explicit Payload(size_t bytes)
      : lines_((bytes + sizeof(Line) - 1) / sizeof(Line)), bytes_(bytes) {}
  std::span<std::byte> span() {
    return {reinterpret_cast<std::byte*>(lines_.data()), bytes_};
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64] = {};
  };
  std::vector<Line> lines_;
  size_t bytes_;
};

class AnchorTest : public ::testing::TestWithParam<KvDtype> {
 protected:
  KvTileShape tile_ = {.head_dim = 32, .dtype = GetParam()};
  size_t size_ = KvDtypeSize(GetParam());
};

TEST_P(AnchorTest, HasTheLengthOfItsGrammar) {
  // 64 + weights of 5 heads in 64 + two sums + sinks, as in anchor.h.
  EXPECT_EQ(AnchorPayloadBytes(tile_, 5, 4),
            64 + 64 + 2 * 5 * 32 * 4 + 2 * 5 * 4 * 32 * size_);
  EXPECT_EQ(AnchorPayloadBytes(tile_, 17, 0),
            64 + 128 + 2 * size_t{17} * 32 * 4);
}

TEST_P(AnchorTest, PartsLieOneAfterTheOther) {
  Payload payload(AnchorPayloadBytes(tile_, 5, 4));
  const AnchorView<std::byte> view(payload.span(), tile_, 5, 4);
  const auto offset = [&](const void* part) {
    return static_cast<size_t>(static_cast<const std::byte*>(part) -
                               payload.span().data());
  };
  const size_t sums = size_t{5} * 32 * 4;
  const size_t sinks = size_t{5} * 4 * 32 * size_;
  EXPECT_EQ(offset(&view.parameters()), 0u);
  EXPECT_EQ(offset(&view.weight(0)), 64u);
  EXPECT_EQ(offset(view.key_sum(0).data()), 128u);
  EXPECT_EQ(offset(view.value_sum(0).data()), 128 + sums);
  EXPECT_EQ(offset(view.sink_keys(0).data()), 128 + 2 * sums);
  EXPECT_EQ(offset(view.sink_values(0).data()), 128 + 2 * sums + sinks);
  EXPECT_EQ(offset(view.sink_values(4).data() + view.sink_values(4).size()),
            payload.span().size());
}

TEST_P(AnchorTest, WhatIsWrittenReadsBack) {
  Payload payload(AnchorPayloadBytes(tile_, 3, 2));
  const AnchorView<std::byte> writer(payload.span(), tile_, 3, 2);
  writer.parameters() = {
      .window = 256, .slack = 128, .dropped = 956, .sinks = 2};
  for (uint32_t head = 0; head < 3; ++head) {
    const auto number = static_cast<float>(head);
    writer.weight(head) = number;
    for (int dim = 0; dim < 32; ++dim) {
      writer.key_sum(head)[dim] = number + 10;
      writer.value_sum(head)[dim] = number + 20;
    }
    std::memset(writer.sink_keys(head).data(), static_cast<int>(head + 30),
                writer.sink_keys(head).size());
    std::memset(writer.sink_values(head).data(), static_cast<int>(head + 40),
                writer.sink_values(head).size());
  }
  const AnchorView<const std::byte> reader(payload.span(), tile_, 3, 2);
  EXPECT_EQ(reader.parameters(),
            (AnchorParameters{
                .window = 256, .slack = 128, .dropped = 956, .sinks = 2}));
  for (uint32_t head = 0; head < 3; ++head) {
    const auto number = static_cast<float>(head);
    EXPECT_EQ(reader.weight(head), number);
    EXPECT_EQ(reader.key_sum(head)[31], number + 10);
    EXPECT_EQ(reader.value_sum(head)[0], number + 20);
    EXPECT_EQ(reader.sink_keys(head).size(), 2 * 32 * size_);
    EXPECT_EQ(reader.sink_keys(head).front(), std::byte(head + 30));
    EXPECT_EQ(reader.sink_values(head).back(), std::byte(head + 40));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AnchorTest,
                         ::testing::Values(KvDtype::kFloat32,
                                           KvDtype::kBfloat16));

}  // namespace
}  // namespace winnow
