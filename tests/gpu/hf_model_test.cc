#include "gpu/model/hf_model.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "gpu/model/model.h"
#include "tests/gpu/gguf_writer.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string TinyFolder(const std::string& name) {
  return std::string(WINNOW_GOLDEN_DIR "/tiny/") + name;
}

void WriteFile(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A copy of a tiny model in a folder of its own, to be damaged.
class HfModelTest : public testing::Test {
 protected:
  HfModelTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::copy(TinyFolder("llama") + "/" + name, folder_ / name);
    }
  }
  ~HfModelTest() override { std::filesystem::remove_all(folder_); }

  absl::Status Load() { return LoadModel(folder_.string()).status(); }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST(HfModelGoldenTest, LoadsTheTinyModels) {
  for (const char* name : {"llama", "llama3_rope_scaling", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const auto model = LoadModel(TinyFolder(name));
    ASSERT_TRUE(model.ok()) << model.status();
    const ModelConfig& config = (*model)->config();
    EXPECT_EQ(config.num_layers, 3);
    EXPECT_EQ(config.num_heads, 4);
    EXPECT_EQ(config.num_kv_heads, 2);
    EXPECT_EQ(config.vocabulary, 512);
    EXPECT_EQ(config.name, name);
    EXPECT_THAT(config.end_of_text, ElementsAre(2));
    EXPECT_EQ((*model)->weights().layers.size(), 3u);
    EXPECT_TRUE((*model)->tokenizer_source().model.empty());
  }
}

TEST(HfModelGoldenTest, FindsWhatTellsTheFamiliesApart) {
  const auto llama = *LoadModel(TinyFolder("llama"));
  EXPECT_NE(llama->weights().output.data, llama->weights().embedding.data);
  EXPECT_EQ(llama->weights().layers[0].query_bias, nullptr);
  const auto qwen2 = *LoadModel(TinyFolder("qwen2"));
  EXPECT_EQ(qwen2->weights().output.data, qwen2->weights().embedding.data);
  EXPECT_NE(qwen2->weights().layers[2].key_bias, nullptr);
  const auto qwen3 = *LoadModel(TinyFolder("qwen3"));
  EXPECT_EQ(qwen3->config().head_dim, 32);
  EXPECT_NE(qwen3->weights().layers[0].query_norm, nullptr);
}

TEST_F(HfModelTest, LoadsShards) {
  std::filesystem::rename(folder_ / "model.safetensors",
                          folder_ / "model-00001-of-00001.safetensors");
  WriteFile(folder_ / "model.safetensors.index.json",
            R"({"weight_map":{"x":"model-00001-of-00001.safetensors"}})");
  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(HfModelTest, NamesFilesThatAreMissing) {
  std::filesystem::remove(folder_ / "model.safetensors");
  EXPECT_EQ(Load().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Load().message()), HasSubstr("model.safetensors"));
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_EQ(Load().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadModel("/nowhere/at/all").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(HfModelTest, RefusesTruncatedWeights) {
  const auto size = std::filesystem::file_size(folder_ / "model.safetensors");
  std::filesystem::resize_file(folder_ / "model.safetensors", size - 1);
  EXPECT_EQ(Load().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::resize_file(folder_ / "model.safetensors", 0);
  EXPECT_EQ(Load().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HfModelTest, RefusesForeignFiles) {
  WriteFile(folder_ / "file", "%PDF-1.7");
  EXPECT_EQ(LoadModel((folder_ / "file").string()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace winnow
