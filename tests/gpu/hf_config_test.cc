#include "gpu/model/hf_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "nlohmann/json.hpp"
#include "tests/gpu/gguf_writer.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

Json Config(const std::string& model_type) {
  return {{"model_type", model_type},  {"num_hidden_layers", 2},
          {"hidden_size", 64},         {"intermediate_size", 128},
          {"vocab_size", 100},         {"max_position_embeddings", 8192},
          {"num_attention_heads", 4},  {"num_key_value_heads", 2},
          {"sliding_window", nullptr}, {"rms_norm_eps", 1e-5}};
}

absl::StatusOr<HfConfig> Read(const Json& config,
                              const std::string& generation = "") {
  return ReadHfConfig(AsBytes(config.dump()), AsBytes(generation));
}

void ExpectRefused(const Json& config, absl::StatusCode code,
                   const std::string& message) {
  const absl::Status status = Read(config).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

Json With(Json config, const std::string& field, Json value) {
  config[field] = std::move(value);
  return config;
}

TEST(HfConfigTest, ReadsEveryModelType) {
  for (const auto& [type, family] : {std::pair("llama", ModelFamily::kLlama),
                                     std::pair("mistral", ModelFamily::kLlama),
                                     std::pair("qwen2", ModelFamily::kQwen2)}) {
    const absl::StatusOr<HfConfig> config = Read(Config(type));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->model.family, family);
    EXPECT_EQ(config->model.head_dim, 16);
    EXPECT_EQ(config->model.rotary_pairs, RotaryPairs::kHalves);
    EXPECT_FLOAT_EQ(config->model.norm_epsilon, 1e-5f);
  }
  // transformers' default for Qwen3 is not hidden / heads.
  EXPECT_EQ(Read(Config("qwen3"))->model.head_dim, 128);
}

TEST(HfConfigTest, TakesAsManyKvHeadsAsHeadsForLlamaAlone) {
  Json config = Config("llama");
  config.erase("num_key_value_heads");
  EXPECT_EQ(Read(config)->model.num_kv_heads, 4);
  config["model_type"] = "qwen2";
  ExpectRefused(config, absl::StatusCode::kInvalidArgument,
                "num_key_value_heads is missing");
}

TEST(HfConfigTest, ReadsBothSpellingsOfRotaryParameters) {
  const Json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 128},
                       {"rope_type", "llama3"}};
  Json old_spelling = With(Config("llama"), "rope_scaling", llama3);
  old_spelling["rope_theta"] = 5e5;
  Json parameters = llama3;
  parameters["rope_theta"] = 5e5;
  const Json new_spelling =
      With(Config("llama"), "rope_parameters", parameters);
  const absl::StatusOr<HfConfig> first = Read(old_spelling);
  const absl::StatusOr<HfConfig> second = Read(new_spelling);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(first->model.rotary_description, second->model.rotary_description);
  EXPECT_EQ(first->model.inverse_frequencies,
            second->model.inverse_frequencies);
}

// Expected values: the formula of transformers' modeling_rope_utils.py
// (_compute_llama3_parameters), worked out in Python.
TEST(HfConfigTest, ScalesFrequenciesAsTransformersDoesForLlama3) {
  const Json config = With(Config("llama"), "rope_parameters",
                           {{"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 128},
                            {"rope_theta", 10000.0},
                            {"rope_type", "llama3"}});
  const absl::StatusOr<HfConfig> read = Read(config);
  ASSERT_TRUE(read.ok()) << read.status();
  const float expected[] = {
      1,        0.316227766f,    0.0427511788f, 0.00395284708f,
      0.00125f, 0.000395284708f, 0.000125f,     3.95284708e-05f};
  for (int i = 0; i < 8; ++i) {
    EXPECT_FLOAT_EQ(read->model.inverse_frequencies[i], expected[i]) << i;
  }
}

TEST(HfConfigTest, JoinsTheEndOfTextIdsOfBothFiles) {
  const Json config = With(Config("llama"), "eos_token_id", 7);
  EXPECT_THAT(Read(config)->model.end_of_text, ElementsAre(7));
  EXPECT_THAT(Read(config, R"({"eos_token_id":[9,7,3]})")->model.end_of_text,
              ElementsAre(3, 7, 9));
  EXPECT_FALSE(Read(config, R"({"eos_token_id":100})").ok());
  EXPECT_FALSE(Read(With(Config("llama"), "eos_token_id", -1)).ok());
}

TEST(HfConfigTest, RefusesSlidingWindowsThatWouldChangeResults) {
  const auto unimplemented = absl::StatusCode::kUnimplemented;
  ExpectRefused(With(Config("mistral"), "sliding_window", 4096), unimplemented,
                "sliding_window is 4096");
  EXPECT_TRUE(Read(With(Config("mistral"), "sliding_window", 8192)).ok());
  Json absent = Config("mistral");
  absent.erase("sliding_window");
  ExpectRefused(absent, unimplemented, "sliding_window is 4096");

  Json qwen = With(Config("qwen2"), "sliding_window", 4096);
  EXPECT_TRUE(Read(qwen).ok());  // use_sliding_window is off
  qwen["use_sliding_window"] = true;
  EXPECT_TRUE(Read(qwen).ok());  // from layer 28 on
  qwen["max_window_layers"] = 1;
  ExpectRefused(qwen, unimplemented, "sliding_window is 4096");
  ExpectRefused(With(Config("qwen3"), "layer_types",
                     Json::array({"full_attention", "sliding_attention"})),
                unimplemented, "layer_types");
}

TEST(HfConfigTest, RefusesWhatWinnowDoesNotRun) {
  const auto unimplemented = absl::StatusCode::kUnimplemented;
  ExpectRefused(Config("gemma"), unimplemented, "model_type is \"gemma\"");
  ExpectRefused(With(Config("llama"), "hidden_act", "gelu"), unimplemented,
                "hidden_act");
  ExpectRefused(With(Config("llama"), "mlp_bias", true), unimplemented,
                "mlp_bias");
  ExpectRefused(With(Config("llama"), "quantization_config", Json::object()),
                unimplemented, "quantization_config");
  ExpectRefused(With(Config("llama"), "partial_rotary_factor", 0.5),
                unimplemented, "partial");
  ExpectRefused(With(Config("llama"), "rope_scaling",
                     {{"type", "dynamic"}, {"factor", 2}}),
                unimplemented, "dynamic");
  ExpectRefused(With(Config("llama"), "head_dim", 20), unimplemented,
                "multiples of 16");
}

TEST(HfConfigTest, RefusesNumbersOutOfRange) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused(With(Config("llama"), "num_attention_heads", 0), invalid,
                "number of heads");
  ExpectRefused(With(Config("llama"), "num_key_value_heads", 3), invalid,
                "not a multiple");
  ExpectRefused(With(Config("llama"), "hidden_size", -64), invalid,
                "hidden_size");
  ExpectRefused(With(Config("llama"), "vocab_size", 1e30), invalid,
                "vocab_size");
  ExpectRefused(With(Config("llama"), "rms_norm_eps", -1), invalid, "epsilon");
  ExpectRefused(With(Config("llama"), "rope_theta", 0), invalid, "rope_theta");
  ExpectRefused(With(Config("llama"), "rope_theta", 1e-300), invalid,
                "out of range");
  ExpectRefused(With(Config("llama"), "rope_scaling", "linear"), invalid,
                "rope_scaling");
}

TEST(HfConfigTest, RefusesJsonThatIsNot) {
  EXPECT_FALSE(ReadHfConfig(AsBytes("{"), {}).ok());
  EXPECT_FALSE(ReadHfConfig(AsBytes("{\"a\":1,\"a\":2}"), {}).ok());
  EXPECT_FALSE(ReadHfConfig(AsBytes(std::string(100'000, '[')), {}).ok());
  EXPECT_FALSE(ReadHfConfig({}, {}).ok());
  EXPECT_FALSE(ReadHfConfig(AsBytes("[]"), {}).ok());
}

}  // namespace
}  // namespace winnow
