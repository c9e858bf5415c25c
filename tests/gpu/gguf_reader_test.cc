#include "gpu/model/gguf_reader.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/gpu/gguf_writer.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ40 = 2;

absl::Status StatusOf(const std::string& file) {
  return ReadGguf(AsBytes(file)).status();
}

void ExpectInvalid(const std::string& file, const std::string& message) {
  const absl::Status status = StatusOf(file);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

// The file `bytes` in memory of exactly that size, so that AddressSanitizer
// sees a read past its end.
absl::Status StatusOfExact(const std::string& file, size_t size) {
  const auto exact = std::make_unique<std::byte[]>(size);
  std::memcpy(exact.get(), file.data(), size);
  return ReadGguf({exact.get(), size}).status();
}

TEST(GgufReaderTest, ReadsMetadataOfEveryType) {
  const std::string file = GgufWriter()
                               .Raw("u8", 0, GgufWriter::Bytes<uint8_t>(200))
                               .Raw("i8", 1, GgufWriter::Bytes<int8_t>(-2))
                               .Raw("u16", 2, GgufWriter::Bytes<uint16_t>(3))
                               .Raw("i16", 3, GgufWriter::Bytes<int16_t>(-4))
                               .U32("u32", 4'000'000'000)
                               .Raw("i32", 5, GgufWriter::Bytes<int32_t>(-6))
                               .F32("f32", 0.5f)
                               .Bool("bool", true)
                               .Text("text", "words")
                               .Raw("u64", 10, GgufWriter::Bytes<uint64_t>(7))
                               .Raw("i64", 11, GgufWriter::Bytes<int64_t>(-8))
                               .Raw("f64", 12, GgufWriter::Bytes<double>(0.25))
                               .Texts("texts", {"a", "", "ccc"})
                               .I32s("numbers", {1, -2})
                               .Write();
  const absl::StatusOr<GgufContents> contents = ReadGguf(AsBytes(file));
  ASSERT_TRUE(contents.ok()) << contents.status();
  constexpr int64_t kLow = -100;
  constexpr int64_t kHigh = int64_t{1} << 40;
  EXPECT_EQ(*contents->Integer("u8", kLow, kHigh), 200);
  EXPECT_EQ(*contents->Integer("i8", kLow, kHigh), -2);
  EXPECT_EQ(*contents->Integer("u16", kLow, kHigh), 3);
  EXPECT_EQ(*contents->Integer("i16", kLow, kHigh), -4);
  EXPECT_EQ(*contents->Integer("u32", kLow, kHigh), 4'000'000'000);
  EXPECT_EQ(*contents->Integer("i32", kLow, kHigh), -6);
  EXPECT_EQ(*contents->Integer("u64", kLow, kHigh), 7);
  EXPECT_EQ(*contents->Integer("i64", kLow, kHigh), -8);
  EXPECT_EQ(*contents->Number("f32"), 0.5);
  EXPECT_EQ(*contents->Number("f64"), 0.25);
  EXPECT_EQ(*contents->Bool("bool"), true);
  EXPECT_EQ(std::string(*contents->String("text")), "words");
  EXPECT_THAT(*contents->Strings("texts"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(*contents->Integers("numbers"), ElementsAre(1, -2));
}

TEST(GgufReaderTest, AnswersForWrongKindsAndRangesWithTheKey) {
  const std::string file = GgufWriter().U32("n", 5).Text("t", "x").Write();
  const GgufContents contents = *ReadGguf(AsBytes(file));
  EXPECT_EQ(contents.Integer("none", 0, 9).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(contents.Integer("n", 6, 9).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(contents.Integer("t", 0, 9).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(contents.Strings("t").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(GgufReaderTest, PlacesTensorsRowMajor) {
  const std::string file =
      GgufWriter(2).Counting("first", {3, 2}).Counting("second", {5}).Write();
  const absl::StatusOr<GgufContents> contents = ReadGguf(AsBytes(file));
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->version, 2u);
  const StoredTensor& first = contents->tensors.at("first");
  EXPECT_THAT(first.shape, ElementsAre(2, 3));
  EXPECT_EQ(first.bytes.size(), 24u);
  const StoredTensor& second = contents->tensors.at("second");
  float value = 0;
  std::memcpy(&value, second.bytes.data() + 4, sizeof(value));
  EXPECT_EQ(value, 2);
}

TEST(GgufReaderTest, RefusesEveryPrefixOfAFile) {
  const std::string file = TinyGguf("llama").Write();
  ASSERT_TRUE(StatusOf(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    const absl::Status status = StatusOfExact(file, size);
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << size << " bytes of " << file.size() << ": " << status;
  }
}

TEST(GgufReaderTest, RefusesForeignFiles) {
  ExpectInvalid("", "not a GGUF file");
  ExpectInvalid("PK\3\4 something else", "not a GGUF file");
  EXPECT_EQ(StatusOf(GgufWriter(1).Write()).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(StatusOf(GgufWriter(0x03000000).Write()).code(),
            absl::StatusCode::kUnimplemented);
}

TEST(GgufReaderTest, RefusesCountsThatTheFileCannotHold) {
  const std::string head = "GGUF" + GgufWriter::Bytes<uint32_t>(3);
  const std::string huge = GgufWriter::Bytes(~uint64_t{0});
  const std::string none = GgufWriter::Bytes<uint64_t>(0);
  const std::string many = GgufWriter::Bytes<uint64_t>(kMaxGgufEntries);
  ExpectInvalid(head + huge + none, "at most");
  ExpectInvalid(head + none + huge, "at most");
  ExpectInvalid(head + many + none, "truncated");
  ExpectInvalid(head + none + many, "truncated");
}

TEST(GgufReaderTest, RefusesStringsAndArraysThatTheFileCannotHold) {
  const std::string huge = GgufWriter::Bytes(~uint64_t{0});
  const auto array = [](uint32_t type, uint64_t count) {
    return GgufWriter::Bytes(type) + GgufWriter::Bytes(count);
  };
  ExpectInvalid(GgufWriter().Raw("k", 8, huge).Write(), "over");
  ExpectInvalid(
      GgufWriter().Raw("k", 8, GgufWriter::Bytes<uint64_t>(1000)).Write(),
      "truncated");
  ExpectInvalid(GgufWriter().Raw("k", 9, array(10, ~uint64_t{0} / 8)).Write(),
                "over");
  ExpectInvalid(GgufWriter().Raw("k", 9, array(10, 1000)).Write(), "truncated");
  ExpectInvalid(GgufWriter().Raw("k", 9, array(8, 1000)).Write(), "truncated");
}

TEST(GgufReaderTest, RefusesNestedArraysAndUnknownTypes) {
  ExpectInvalid(
      GgufWriter()
          .Raw("k", 9,
               GgufWriter::Bytes<uint32_t>(9) + GgufWriter::Bytes<uint64_t>(1))
          .Write(),
      "array of type 9");
  ExpectInvalid(GgufWriter().Raw("k", 13, "").Write(), "unknown type 13");
  EXPECT_EQ(StatusOf(GgufWriter().TensorAt("t", {32}, 20, 0).Write()).code(),
            absl::StatusCode::kUnimplemented);
}

TEST(GgufReaderTest, RefusesNamesThatComeTwice) {
  ExpectInvalid(GgufWriter().U32("k", 1).U32("k", 2).Write(), "comes twice");
  ExpectInvalid(GgufWriter().Counting("t", {1}).Counting("t", {1}).Write(),
                "comes twice");
}

TEST(GgufReaderTest, RefusesShapesOutOfRange) {
  const auto with = [](const std::vector<uint64_t>& dims, uint32_t type) {
    return GgufWriter().TensorAt("t", dims, type, 0).Write();
  };
  ExpectInvalid(with({}, kF32), "dimensions");
  ExpectInvalid(with({1, 1, 1, 1, 1}, kF32), "dimensions");
  ExpectInvalid(with({0}, kF32), "out of range");
  ExpectInvalid(with({uint64_t{1} << 63, 4}, kF32), "out of range");
  ExpectInvalid(with({uint64_t{1} << 32, uint64_t{1} << 32}, kF32),
                "out of range");
  ExpectInvalid(with({33, 2}, kQ40), "whole number of Q4_0 blocks");
}

TEST(GgufReaderTest, RefusesTensorsThatDoNotLieInTheData) {
  const auto at = [](uint64_t offset) {
    return GgufWriter()
        .Counting("real", {16})
        .TensorAt("t", {4}, kF32, offset)
        .Write();
  };
  ASSERT_TRUE(StatusOf(at(32)).ok());
  ExpectInvalid(at(64), "needs 16 bytes at 64");
  ExpectInvalid(at(uint64_t{0} - 32), "needs 16 bytes");
  ExpectInvalid(at(8), "not a multiple of 32");
}

TEST(GgufReaderTest, TakesTheAlignmentOfTheFile) {
  GgufWriter writer(3, 64);
  writer.U32("general.alignment", 64).Counting("a", {3}).Counting("b", {2});
  const std::string file = writer.Write();
  ASSERT_TRUE(StatusOf(file).ok()) << StatusOf(file);
  for (const uint32_t wrong : {0u, 24u, 1u << 21}) {
    const absl::Status status = StatusOf(GgufWriter()
                                             .U32("general.alignment", wrong)
                                             .Counting("a", {3})
                                             .Write());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

}  // namespace
}  // namespace winnow
