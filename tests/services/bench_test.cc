#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <sys/wait.h>

#include "gtest/gtest.h"

#include "cache_store/store/local_store.h"
#include "services/bench/bench_attention.h"
#include "services/bench/bench_engine.h"
#include "services/bench/bench_machine.h"
#include "services/bench/bench_read_kernel.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_spread.h"
#include "services/bench/bench_store.h"
#include "tests/gpu/smollm2.h"
#include <nlohmann/json.hpp>

namespace winnow {
namespace {

std::string TinyModelPath() {
  return std::string(WINNOW_GOLDEN_DIR) + "/tiny/llama";
}

TEST(SpreadTest, MedianIsTheMiddleOfAnOddNumber) {
  const Spread spread = SpreadOf({5, 1, 4, 2, 3});
  EXPECT_EQ(spread.median, 3);
  EXPECT_EQ(spread.min, 1);
  EXPECT_EQ(spread.max, 5);
}

TEST(SpreadTest, MedianOfAnEvenNumberIsTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(SpreadOf({8, 1, 2, 4}).median, 3);
}

TEST(MachineTest, BusyTicksLeaveOutIdleWaitingAndStolenTime) {
  EXPECT_EQ(ParseBusyTicks("cpu  1 20 300 9 9 4000 50000 9 0 0\ncpu0 1 1\n"),
            54321);
}

TEST(MachineTest, ForeignStatFilesHaveNoBusyTicks) {
  EXPECT_EQ(ParseBusyTicks(""), std::nullopt);
  EXPECT_EQ(ParseBusyTicks("cpu 1 2 3\n"), std::nullopt);
  EXPECT_EQ(ParseBusyTicks("cpu a b c d e f g h\n"), std::nullopt);
  EXPECT_EQ(ParseBusyTicks("cpu0 1 2 3 4 5 6 7 8\n"), std::nullopt);
}

TEST(MachineTest, ResidentMemoryIsReadInBytes) {
  const auto read = ParseResidentMemory(
      "Name:\tx\nVmRSS:\t     300 kB\nRssAnon:\t 100 kB\nRssFile:\t 200 kB\n");
  ASSERT_TRUE(read.has_value());
  const ResidentMemory memory = read.value_or(ResidentMemory{});
  EXPECT_EQ(memory.total_bytes, 300 * 1024);
  EXPECT_EQ(memory.anonymous_bytes, 100 * 1024);
  EXPECT_EQ(memory.file_bytes, 200 * 1024);
  EXPECT_EQ(ParseResidentMemory("VmRSS: 300 kB\n"), std::nullopt);
}

TEST(MachineTest, ResidentMemoryGrowsByWhatIsWritten) {
  const uint64_t before = ReadResidentMemory().value().anonymous_bytes;
  const std::vector<char> written(size_t{64} << 20, 'x');
  const uint64_t after = ReadResidentMemory().value().anonymous_bytes;
  EXPECT_GE(after - before, written.size() * 9 / 10);
}

TEST(ReadKernelTest, SumsEveryWordAtEveryLevel) {
  alignas(64) static std::array<uint64_t, 3 * kReadPiece / 8> words;
  uint64_t expected = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = i * 0x9E3779B97F4A7C15;
    expected += words[i];
  }
  const CpuLevel best = DetectCpuLevel().value();
  for (const CpuLevel level : kCpuLevels) {
    if (level <= best) {
      EXPECT_EQ(SumWords(std::as_bytes(std::span(words)), level), expected);
    }
  }
}

TEST(RaggedLengthsTest, RowsFillTheTilesAndDiffer) {
  constexpr int kTiles = 10000;
  const std::vector<int> lengths = RaggedLengths(kTiles);
  int tiles = 0;
  for (const int length : lengths) {
    EXPECT_GE(length, 1);
    EXPECT_LE(length, 8192);
    tiles += (length + kBlockTokens - 1) / kBlockTokens;
  }
  EXPECT_EQ(tiles, kTiles);
  EXPECT_GT(std::set(lengths.begin(), lengths.end()).size(),
            lengths.size() / 2);
}

// Counted one query, head and matrix at a time.
TEST(PrefillOperationsTest, CountsMatricesAndTheCausalHalfOfAttention) {
  const auto model = LoadModel(TinyModelPath()).value();
  const ModelConfig& config = model->config();
  constexpr int kTokens = 7;
  double expected = 0;
  for (const LayerWeights& layer : model->weights().layers) {
    for (const WeightView* view :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output,
          &layer.gate, &layer.up, &layer.down}) {
      expected += static_cast<double>(2 * kTokens * view->rows * view->cols);
    }
    for (int head = 0; head < config.num_heads; ++head) {
      for (int query = 0; query < kTokens; ++query) {
        const int seen = query + 1;
        expected += 2.0 * config.head_dim * seen;  // scores
        expected += 2.0 * config.head_dim * seen;  // values
      }
    }
  }
  EXPECT_EQ(PrefillOperations(*model, kTokens), expected);
}

TEST(DecodeReadBytesTest, FullReadsWeightsAndEveryToken) {
  const auto model = LoadModel(TinyModelPath()).value();
  const ModelConfig& config = model->config();
  const HeadGrid grid = {.num_layers = config.num_layers,
                         .num_kv_heads = config.num_kv_heads};
  const Plan plan = MakePlan({}, nullptr, grid, 100).value();
  constexpr uint64_t kEntryBytes = 96;
  const uint64_t weights = DecodeWeightBytes(model->weights());
  EXPECT_GT(weights, 0);
  EXPECT_EQ(DecodeReadBytes(*model, plan, kEntryBytes, 20),
            static_cast<double>(weights + uint64_t{110} * grid.size() * 96));
}

TEST(DecodeReadBytesTest, LocalHeadsReadSinksAndWindowOnly) {
  const auto model = LoadModel(TinyModelPath()).value();
  const ModelConfig& config = model->config();
  const HeadGrid grid = {.num_layers = config.num_layers,
                         .num_kv_heads = config.num_kv_heads};
  const Policy policy = ParsePolicy("streaming,sinks=4,window=128").value();
  const Plan plan = MakePlan(policy, nullptr, grid, 2000).value();
  // Boundary 1,984, window from 1,856, at position 2,010.
  const double weights =
      static_cast<double>(DecodeWeightBytes(model->weights()));
  EXPECT_EQ(DecodeReadBytes(*model, plan, 10, 20),
            weights + (4 + 2010 - 1856) * 10.0 * grid.size());
}

class BenchStoreTest : public testing::Test {
 protected:
  std::unique_ptr<Model> model_ = LoadModel(TinyModelPath()).value();
  std::unique_ptr<Backend> backend_ = CreateCpuBackend({}).value();
  std::unique_ptr<RoofMeter> roofs_ =
      RoofMeter::Create(*backend_, *model_, 2, size_t{1} << 20).value();
  SegmentShape shape_ = FullBlockShape(model_->config(), KvDtype::kBfloat16);
};

TEST_F(BenchStoreTest, WritesMoreThanTheStoreHoldsAndLeavesItEmpty) {
  const auto store =
      LocalStore::Create({.capacity_bytes = size_t{4} << 20}).value();
  const StoreFigures figures =
      BenchStore(*store, *roofs_,
                 {.shape = shape_, .repeats = 3, .wait_quiet = {}})
          .value();
  EXPECT_GT(figures.write_bytes_per_s.min, 0);
  EXPECT_GT(figures.verified_read_bytes_per_s.min, 0);
  const StoreStats stats = store->GetStats().value();
  EXPECT_EQ(stats.written_bytes, 4 * figures.working_set_bytes);
  EXPECT_EQ(stats.read_bytes, 3 * figures.working_set_bytes);
  EXPECT_GT(stats.evictions, 0);
  EXPECT_EQ(stats.segments, 0);
  EXPECT_EQ(stats.leases, 0);
}

TEST_F(BenchStoreTest, RefusesAStoreWithoutRoom) {
  const auto store = LocalStore::Create({.capacity_bytes = 4096}).value();
  EXPECT_EQ(BenchStore(*store, *roofs_,
                       {.shape = shape_, .repeats = 1, .wait_quiet = {}})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

struct Outcome {
  int exit_code = -1;
  std::string output;  // standard output and standard error
};

Outcome RunBench(const std::string& options) {
  const std::string command = std::string(WINNOW_BINARY) + " bench --model '" +
                              FetchedModelPath() + "' " + options + " 2>&1";
  Outcome outcome;
  FILE* const pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::array<char, 4096> buffer;
  for (size_t count = 1; count > 0;) {
    count = fread(buffer.data(), 1, buffer.size(), pipe);
    outcome.output.append(buffer.data(), count);
  }
  outcome.exit_code = WEXITSTATUS(pclose(pipe));
  return outcome;
}

// Every number is positive but those that may be none on an idle machine, and
// every median lies between its least and its greatest.
void ExpectFigures(const nlohmann::json& json, const std::string& name) {
  static const std::set<std::string> kMayBeZero = {
      "other_cores", "engine",         "batch", "attention", "store",
      "sinks",       "window_divisor", "slack", "min_length"};
  if (!json.is_structured()) {
    if (json.is_number() && !kMayBeZero.contains(name)) {
      EXPECT_GT(json.get<double>(), 0) << name;
    }
    return;
  }
  if (json.contains("median")) {
    EXPECT_LE(json.at("min"), json.at("median")) << name;
    EXPECT_LE(json.at("median"), json.at("max")) << name;
    if (name == "other_cores") {
      return;
    }
  }
  for (const auto& item : json.items()) {
    ExpectFigures(item.value(), item.key());
  }
}

TEST(BenchCommandTest, JsonHoldsEveryFigureBesideItsRoof) {
  const std::filesystem::path out =
      std::filesystem::temp_directory_path() /
      ("winnow_bench_test_" + std::to_string(getpid()) + ".json");
  const Outcome outcome = RunBench(
      "--contexts 64 --repeats 1 --decode-tokens 3 --working-set 16MiB "
      "--store-size 64MiB --json --out '" +
      out.string() + "'");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json, nlohmann::json::parse(std::ifstream(out)));
  std::filesystem::remove(out);
  for (const char* field :
       {"version", "date_utc", "cpu", "backend", "threads", "repeats",
        "other_cores", "other_cores_by_section", "model",
        "memory_after_loading", "roofs", "engine", "attention", "store"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  ASSERT_EQ(json.at("engine").size(), 2);
  EXPECT_EQ(json.at("engine")[0].at("policy").at("name"), "full");
  EXPECT_EQ(json.at("engine")[1].at("policy").at("name"), "razor");
  EXPECT_EQ(json.at("attention").size(), 6);  // groups 1, 2, 3, 4, 8, 16
  for (const auto& engine : json.at("engine")) {
    EXPECT_EQ(engine.at("context_tokens"), 64);
    EXPECT_EQ(engine.at("kv").at("full_bytes"), 64 * 23040);
    for (const char* kind : {"prefill", "decode"}) {
      const std::string name = kind;
      const double rate =
          engine.at(name + "_tokens_per_s").at("median").get<double>();
      const double roof = engine.at(name + "_roof_tokens_per_s").get<double>();
      EXPECT_NEAR(engine.at(name + "_roof_share").get<double>(), rate / roof,
                  1e-9);
    }
  }
  ExpectFigures(json, "");
}

TEST(BenchCommandTest, SequencesThatDecodeAtOnceHaveASectionOfTheirOwn) {
  const Outcome outcome = RunBench(
      "--sections batch --batch-sequences 2 --batch-context 64 --repeats 1 "
      "--decode-tokens 3 --working-set 16MiB --store-size 64MiB --json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_FALSE(json.contains("engine"));
  ASSERT_EQ(json.at("batch").size(), 2);
  for (const auto& batch : json.at("batch")) {
    EXPECT_EQ(batch.at("sequences"), 2);
    EXPECT_EQ(batch.at("context_tokens"), 64);
    EXPECT_EQ(batch.at("steps"), 2);
    EXPECT_EQ(batch.at("mean_batch"), 2);
  }
  ExpectFigures(json, "");
}

TEST(BenchCommandTest, ContextsBeyondTheModelAreRefusedBeforeAnythingRuns) {
  const Outcome outcome =
      RunBench("--contexts 512,9000 --working-set 1MiB --sections engine");
  EXPECT_EQ(outcome.exit_code, 4) << outcome.output;
  EXPECT_NE(outcome.output.find("9000 tokens"), std::string::npos);
  EXPECT_NE(outcome.output.find("8192"), std::string::npos);
}

TEST(BenchCommandTest, OutputThatCannotBeWrittenIsRefusedAtOnce) {
  EXPECT_EQ(RunBench("--out /nonexistent/bench.json").exit_code, 3);
}

TEST(BenchCommandTest, UnknownSectionsAndPoliciesAreRefused) {
  EXPECT_EQ(RunBench("--sections gpu").exit_code, 2);
  EXPECT_EQ(RunBench("--policies full,rasor").exit_code, 2);
}

}  // namespace
}  // namespace winnow
