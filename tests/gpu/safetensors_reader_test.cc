#include "gpu/model/safetensors_reader.h"

#include <cstring>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/gpu/gguf_writer.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string FileOf(const std::string& header, size_t data_bytes) {
  return GgufWriter::Bytes<uint64_t>(header.size()) + header +
         std::string(data_bytes, 'd');
}

std::string Entry(const std::string& name, const std::string& dtype,
                  const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

absl::Status StatusOf(const std::string& file) {
  TensorTable tensors;
  return ReadSafetensors(AsBytes(file), tensors);
}

void ExpectInvalid(const std::string& file, const std::string& message) {
  const absl::Status status = StatusOf(file);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

// One tensor "t" over 8 bytes of data, with one thing wrong.
void ExpectEntryInvalid(const std::string& entry, const std::string& message) {
  ExpectInvalid(FileOf("{" + entry + "}", 8), message);
}

TEST(SafetensorsReaderTest, ReadsTensorsInAnyOrder) {
  const std::string file =
      FileOf("{\"__metadata__\":{\"format\":\"pt\"}," +
                 Entry("b", "F32", "[1, 2]", "[6, 14]") + "," +
                 Entry("a", "BF16", "[3]", "[0, 6]") + "}  ",
             14);
  TensorTable tensors;
  const absl::Status status = ReadSafetensors(AsBytes(file), tensors);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors.at("a").type, WeightType::kBF16);
  EXPECT_THAT(tensors.at("a").shape, ElementsAre(3));
  EXPECT_EQ(tensors.at("b").bytes.data() - tensors.at("a").bytes.data(), 6);
  EXPECT_THAT(tensors.at("b").shape, ElementsAre(1, 2));
}

TEST(SafetensorsReaderTest, RefusesEveryPrefixOfAFile) {
  const std::string file =
      FileOf("{" + Entry("t", "F32", "[2]", "[0,8]") + "}", 8);
  ASSERT_TRUE(StatusOf(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    const auto exact = std::make_unique<std::byte[]>(size);
    std::memcpy(exact.get(), file.data(), size);
    TensorTable tensors;
    const absl::Status status = ReadSafetensors({exact.get(), size}, tensors);
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(SafetensorsReaderTest, RefusesHeadersThatDoNotFit) {
  ExpectInvalid("GGUF", "shorter than 8 bytes");
  ExpectInvalid(GgufWriter::Bytes(~uint64_t{0}) + "{}", "does not fit");
  ExpectInvalid(FileOf("[]", 0), "not a JSON object");
  ExpectInvalid(FileOf("{\"t\":", 0), "header");
  ExpectInvalid(FileOf(std::string(1000, '['), 0), "nested deeper");
}

TEST(SafetensorsReaderTest, RefusesEntriesThatContradictThemselves) {
  ExpectEntryInvalid(Entry("t", "F32", "[3]", "[0,8]"), "another length");
  ExpectEntryInvalid(Entry("t", "F32", "[2]", "[0,16]"), "truncated");
  ExpectEntryInvalid(Entry("t", "F32", "[2]", "[8,0]"), "lies at");
  ExpectEntryInvalid(Entry("t", "F32", "[2]", "[-8,0]"), "not a count");
  ExpectEntryInvalid(Entry("t", "F32", "[2.0]", "[0,8]"), "not a count");
  ExpectEntryInvalid(Entry("t", "F32", "2", "[0,8]"), "no \"shape\"");
  ExpectEntryInvalid(Entry("t", "F32", "[2]", "[0]"), "no \"data_offsets\"");
  ExpectEntryInvalid(Entry("t", "F32", "[4294967296,4294967296,2]", "[0,8]"),
                     "too large");
  ExpectEntryInvalid("\"t\":7", "no \"dtype\"");
  EXPECT_EQ(
      StatusOf(FileOf("{" + Entry("t", "F4", "[16]", "[0,8]") + "}", 8)).code(),
      absl::StatusCode::kUnimplemented);
}

TEST(SafetensorsReaderTest, RefusesHolesOverlapsAndNamesThatComeTwice) {
  const std::string first = Entry("a", "F32", "[1]", "[0,4]");
  ExpectEntryInvalid(first, "end at byte 4");
  ExpectEntryInvalid(first + "," + Entry("b", "F16", "[1]", "[6,8]"),
                     "hole or overlap at byte 4");
  ExpectEntryInvalid(first + "," + Entry("b", "F16", "[3]", "[2,8]"),
                     "hole or overlap at byte 4");
  ExpectEntryInvalid(first + "," + first, "comes twice");
}

TEST(SafetensorsReaderTest, RefusesATensorThatAnotherShardHas) {
  const std::string file =
      FileOf("{" + Entry("t", "F32", "[2]", "[0,8]") + "}", 8);
  TensorTable tensors;
  ASSERT_TRUE(ReadSafetensors(AsBytes(file), tensors).ok());
  EXPECT_THAT(std::string(ReadSafetensors(AsBytes(file), tensors).message()),
              HasSubstr("comes twice"));
}

TEST(ShardNamesTest, AreSortedPlainNamesOfTheFolder) {
  const auto names = [](const std::string& json) {
    return ReadShardNames(AsBytes(json));
  };
  EXPECT_THAT(*names(R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors",
                         "z":"b.safetensors"}})"),
              ElementsAre("a.safetensors", "b.safetensors"));
  for (const char* wrong :
       {"../a.safetensors", "/etc/a.safetensors", ".safetensors", "a.bin"}) {
    EXPECT_EQ(names(std::string(R"({"weight_map":{"x":")") + wrong + "\"}}")
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument)
        << wrong;
  }
  EXPECT_FALSE(names("{}").ok());
}

}  // namespace
}  // namespace winnow
