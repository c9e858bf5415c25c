#include "gpu/model/gguf_model.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/model/model.h"
#include "tests/gpu/gguf_writer.h"
#include "tests/gpu/smollm2.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A model read from bytes that stay where they are.
struct ReadModel {
  std::string file;
  ModelParts parts;
  absl::Status status;

  explicit ReadModel(const GgufWriter& writer) : file(writer.Write()) {
    const absl::StatusOr<GgufContents> contents = ReadGguf(AsBytes(file));
    status =
        contents.ok() ? ReadGgufModel(*contents, parts) : contents.status();
  }
};

void ExpectRefused(const GgufWriter& writer, absl::StatusCode code,
                   const std::string& message) {
  const ReadModel model(writer);
  EXPECT_EQ(model.status.code(), code) << model.status;
  EXPECT_THAT(std::string(model.status.message()), HasSubstr(message));
}

void ExpectInvalid(const GgufWriter& writer, const std::string& message) {
  ExpectRefused(writer, absl::StatusCode::kInvalidArgument, message);
}

void ExpectUnimplemented(const GgufWriter& writer, const std::string& message) {
  ExpectRefused(writer, absl::StatusCode::kUnimplemented, message);
}

TEST(GgufModelTest, ReadsLlamaWithInterleavedPairsAndTiedOutput) {
  const ReadModel model(TinyGguf("llama"));
  ASSERT_TRUE(model.status.ok()) << model.status;
  const ModelConfig& config = model.parts.config;
  EXPECT_EQ(config.family, ModelFamily::kLlama);
  EXPECT_EQ(config.name, "tiny");
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.num_heads, 2);
  EXPECT_EQ(config.num_kv_heads, 1);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.vocabulary, 8);
  EXPECT_EQ(config.rotary_pairs, RotaryPairs::kInterleaved);
  EXPECT_EQ(config.rotary_description,
            "theta=10000 scaling=none pairs=interleaved");
  EXPECT_THAT(config.end_of_text, ElementsAre(0, 7));
  const ModelWeights& weights = model.parts.weights;
  EXPECT_EQ(weights.output.data, weights.embedding.data);
  EXPECT_EQ(weights.layers.size(), 2u);
  EXPECT_EQ(weights.layers[1].down.rows, 32);
  EXPECT_EQ(weights.layers[1].down.cols, 64);
  EXPECT_EQ(weights.layers[0].query_bias, nullptr);
}

TEST(GgufModelTest, ReadsTheTokenizer) {
  const ReadModel model(TinyGguf("llama"));
  ASSERT_TRUE(model.status.ok()) << model.status;
  const TokenizerSource& source = model.parts.tokenizer;
  EXPECT_EQ(source.model, "bpe");
  EXPECT_EQ(source.pre_tokenizer, "smollm");
  EXPECT_EQ(source.tokens.size(), 8u);
  EXPECT_EQ(source.kinds[0], TokenKind::kSpecial);
  EXPECT_EQ(source.kinds[1], TokenKind::kNormal);
  EXPECT_EQ(source.kinds[7], TokenKind::kUnused);
  EXPECT_THAT(source.merges,
              ElementsAre(std::pair("a", "b"), std::pair("ab", "c")));
  EXPECT_EQ(source.beginning_of_text, 0);
  EXPECT_TRUE(source.add_beginning_of_text);
  EXPECT_EQ(source.chat_template, "{{ messages }}");
}

TEST(GgufModelTest, ReadsQwenWithHalvesBiasesAndHeadNorms) {
  const ReadModel qwen2(TinyGguf("qwen2"));
  ASSERT_TRUE(qwen2.status.ok()) << qwen2.status;
  EXPECT_EQ(qwen2.parts.config.rotary_pairs, RotaryPairs::kHalves);
  EXPECT_EQ(qwen2.parts.weights.layers[1].query_bias[31], 32);
  EXPECT_EQ(qwen2.parts.weights.layers[1].value_bias[15], 16);
  const ReadModel qwen3(TinyGguf("qwen3"));
  ASSERT_TRUE(qwen3.status.ok()) << qwen3.status;
  EXPECT_EQ(qwen3.parts.weights.layers[0].query_norm[15], 16);
  EXPECT_EQ(qwen3.parts.weights.layers[0].key_norm[0], 1);
}

TEST(GgufModelTest, DividesFrequenciesByTheFactorsOfTheFile) {
  GgufWriter writer = TinyGguf("llama");
  writer.Counting("rope_freqs.weight", {8});  // 1 to 8
  const ReadModel model(writer);
  ASSERT_TRUE(model.status.ok()) << model.status;
  for (int i = 0; i < 8; ++i) {
    EXPECT_FLOAT_EQ(model.parts.config.inverse_frequencies[i],
                    static_cast<float>(std::pow(10000.0, -i / 8.0) / (i + 1)));
  }
  EXPECT_EQ(model.parts.config.rotary_description,
            "theta=10000 scaling=factors(1,2,3,4,5,6,7,8) pairs=interleaved");
}

TEST(GgufModelTest, ScalesFrequenciesLinearly) {
  GgufWriter writer = TinyGguf("llama");
  writer.Text("llama.rope.scaling.type", "linear")
      .F32("llama.rope.scaling.factor", 4);
  const ReadModel model(writer);
  ASSERT_TRUE(model.status.ok()) << model.status;
  EXPECT_FLOAT_EQ(model.parts.config.inverse_frequencies[0], 0.25f);
}

TEST(GgufModelTest, ConvertsNormsThatAreNotFloat32) {
  GgufWriter writer = TinyGguf("llama");
  std::string halves;
  for (int i = 0; i < 32; ++i) {
    halves += GgufWriter::Bytes<uint16_t>(0x3800);  // 0.5 as binary16
  }
  writer.Tensor("rope_freqs.weight", {8}, 1, halves.substr(0, 16));
  const ReadModel model(writer);
  ASSERT_TRUE(model.status.ok()) << model.status;
  EXPECT_EQ(model.parts.owned.size(), 1u);
  EXPECT_FLOAT_EQ(model.parts.config.inverse_frequencies[0], 2);
}

TEST(GgufModelTest, CopiesVectorsThatAreNotAligned) {
  std::string bytes = "x";
  for (const float value : {1.0f, 2.0f}) {
    bytes += GgufWriter::Bytes(value);
  }
  TensorTable tensors;
  for (const size_t start : {0, 1}) {
    tensors["v" + std::to_string(start)] = {.type = WeightType::kF32,
                                            .type_name = "F32",
                                            .shape = {2},
                                            .bytes = {}};
  }
  const auto storage = std::make_unique<float[]>(3);
  auto* const raw = reinterpret_cast<std::byte*>(storage.get());
  std::memcpy(raw + 1, bytes.data() + 1, 8);
  tensors["v1"].bytes = {raw + 1, 8};
  tensors["v0"].bytes = {raw, 8};
  OwnedVectors owned;
  const float* copied = *FindVector(tensors, {.name = "v1", .count = 2}, owned);
  EXPECT_THAT(std::span(copied, 2), ElementsAre(1, 2));
  EXPECT_EQ(owned.size(), 1u);
  const float* in_place =
      *FindVector(tensors, {.name = "v0", .count = 2}, owned);
  EXPECT_EQ(in_place, storage.get());
  EXPECT_EQ(owned.size(), 1u);
}

TEST(GgufModelTest, RefusesOtherArchitecturesAndVariants) {
  ExpectUnimplemented(TinyGguf("gpt2"), "architecture \"gpt2\"");
  ExpectUnimplemented(TinyGguf("llama").Text("llama.rope.scaling.type", "yarn"),
                      "yarn");
  ExpectUnimplemented(TinyGguf("llama").U32("llama.expert_count", 8),
                      "expert_count");
  ExpectUnimplemented(
      TinyGguf("llama").U32("llama.attention.sliding_window", 64),
      "sliding_window");
  ExpectUnimplemented(TinyGguf("llama").U32("llama.rope.dimension_count", 8),
                      "partial rotary");
  ExpectUnimplemented(TinyGguf("llama").Counting("blk.0.extra.weight", {4}),
                      "blk.0.extra.weight");
  ExpectUnimplemented(
      TinyGguf("llama").Counting("blk.0.attn_output.bias", {32}),
      "attn_output.bias");
}

TEST(GgufModelTest, RefusesSizesThatContradictEachOther) {
  const auto with = [](const std::string& field, uint32_t value) {
    return TinyGguf("llama")
        .Without("llama." + field)
        .U32("llama." + field, value);
  };
  ExpectInvalid(with("block_count", 0), "number of layers is 0");
  ExpectInvalid(with("block_count", 3), "no tensor blk.2.");
  ExpectInvalid(with("block_count", 4'000'000'000), "block_count");
  ExpectInvalid(with("embedding_length", 64), "has shape");
  ExpectInvalid(with("feed_forward_length", 32), "has shape");
  ExpectInvalid(with("attention.head_count", 0), "number of heads is 0");
  ExpectInvalid(with("attention.head_count_kv", 3), "not a multiple");
  ExpectInvalid(TinyGguf("llama")
                    .Without("llama.block_count")
                    .Text("llama.block_count", "two"),
                "block_count is not an integer");
  ExpectUnimplemented(with("block_count", 1), "blk.1.");
}

TEST(GgufModelTest, RefusesTokenizersThatContradictThemselves) {
  const auto replaced = [](const std::string& key) {
    return TinyGguf("llama").Without("tokenizer.ggml." + key);
  };
  ExpectInvalid(replaced("token_type").I32s("tokenizer.ggml.token_type", {1}),
                "token_type has 1");
  ExpectInvalid(replaced("eos_token_id").U32("tokenizer.ggml.eos_token_id", 8),
                "eos_token_id");
  ExpectInvalid(replaced("merges").Texts("tokenizer.ggml.merges", {"ab"}),
                "merges[0]");
  ExpectInvalid(replaced("tokens").Texts("tokenizer.ggml.tokens",
                                         std::vector<std::string>(9, "x")),
                "the embedding 8 rows");
  ExpectInvalid(replaced("tokens").Texts("tokenizer.ggml.tokens",
                                         std::vector<std::string>(8, "\xff")),
                "not UTF-8");
}

TEST(GgufModelTest, LoadsSmolLm2) {
  const absl::StatusOr<std::unique_ptr<Model>> model =
      LoadModel(FetchedModelPath());
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelConfig& config = (*model)->config();
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocabulary, 49152);
  EXPECT_EQ(config.context_limit, 8192);
  EXPECT_EQ(config.rotary_description,
            "theta=100000 scaling=none pairs=interleaved");
  EXPECT_EQ(config.KvBytesPerToken(KvDtype::kBfloat16), 23040);
  EXPECT_THAT(config.end_of_text, ElementsAre(2));
  const auto file = *MappedFile::Open(FetchedModelPath());
  EXPECT_EQ(ReadGguf(file->bytes())->tensors.size(), 272u);
  EXPECT_EQ((*model)->weights().layers.size(), 30u);
  EXPECT_EQ((*model)->weights().layers[29].gate.type, WeightType::kQ4_1);
  EXPECT_EQ((*model)->weights().embedding.type, WeightType::kQ8_0);
  EXPECT_EQ((*model)->tokenizer_source().tokens.size(), 49152u);
  EXPECT_EQ((*model)->tokenizer_source().merges.size(), 48900u);
}

}  // namespace
}  // namespace winnow
