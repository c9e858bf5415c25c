#include "services/common/metrics.h"

#include <fstream>
#include <memory>
#include <set>
#include <string>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "cache_store/store/local_store.h"
#include "services/common/rpc_metrics.h"
#include "services/decode/decode_metrics.h"
#include "services/gateway/gateway_metrics.h"
#include "services/prefill/prefill_metrics.h"
#include "services/store/store_metrics.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The whole answer to one GET, head and body.
std::string Get(int port, const std::string& path) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<uint16_t>(port));
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
  std::string answer;
  if (descriptor < 0) {
    return answer;
  }
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&name),
                sizeof(name)) == 0) {
    const std::string request = absl::StrCat(
        "GET ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ::send(descriptor, request.data(), request.size(), MSG_NOSIGNAL);
    char buffer[4096];
    for (ssize_t got = 1; got > 0;) {
      got = ::recv(descriptor, buffer, sizeof(buffer), 0);
      answer.append(buffer, got > 0 ? got : 0);
    }
  }
  ::close(descriptor);
  return answer;
}

std::unique_ptr<MetricsServer> Serve(Metrics& metrics) {
  auto server = MetricsServer::Start("127.0.0.1:0", false, metrics);
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

TEST(MetricsServerTest, ServesWhatIsCountedAndWhatIsSampled) {
  Metrics metrics("1.2.3", "store");
  RpcMetrics rpcs(metrics.registry());
  int level = 5;
  metrics.AddSampler([&level] {
    return std::vector<prometheus::MetricFamily>{
        SampledFamily("winnow_test_level", "A level.",
                      prometheus::MetricType::Gauge)
            .Add(level, {{"tier", "host"}})
            .family()};
  });
  const auto server = Serve(metrics);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(server->address(), absl::StrCat("127.0.0.1:", server->port()));

  RpcMetrics::Method& method = rpcs.ForMethod("Read");
  method.Started();
  method.Started();
  method.Ended(absl::StatusCode::kNotFound, absl::Milliseconds(30));
  level = 6;
  const std::string page = Get(server->port(), "/metrics");
  EXPECT_THAT(page, HasSubstr("200 OK"));
  EXPECT_THAT(page,
              HasSubstr("winnow_build_info{role=\"store\",version=\"1.2.3\"}"
                        " 1"));
  EXPECT_THAT(page, HasSubstr("winnow_rpc_requests_total{code=\"NOT_FOUND\","
                              "method=\"Read\"} 1"));
  EXPECT_THAT(page, HasSubstr("winnow_rpc_in_flight{method=\"Read\"} 1"));
  EXPECT_THAT(page, HasSubstr("winnow_rpc_duration_seconds_bucket{method="
                              "\"Read\",le=\"0.05\"} 1"));
  EXPECT_THAT(page, HasSubstr("winnow_rpc_duration_seconds_bucket{method="
                              "\"Read\",le=\"0.025\"} 0"));
  EXPECT_THAT(page, HasSubstr("winnow_test_level{tier=\"host\"} 6"));
  EXPECT_THAT(Get(server->port(), "/etc/passwd"), Not(HasSubstr("200 OK")));
}

TEST(MetricsServerTest, RefusesAddressesAsTheServerDoes) {
  Metrics metrics("1.2.3", "store");
  const auto code = [&metrics](const std::string& address) {
    return MetricsServer::Start(address, false, metrics).status().code();
  };
  EXPECT_EQ(code("0.0.0.0:0"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("unix:/tmp/x"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("nowhere"), absl::StatusCode::kInvalidArgument);
  const auto first = Serve(metrics);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(code(first->address()), absl::StatusCode::kFailedPrecondition);
}

TEST(RpcMetricsTest, BoundsTheMethodsItTellsApart) {
  Metrics metrics("1.2.3", "store");
  RpcMetrics rpcs(metrics.registry());
  std::set<RpcMetrics::Method*> methods;
  for (size_t i = 0; i < 2 * RpcMetrics::kMaxMethods; ++i) {
    methods.insert(&rpcs.ForMethod(absl::StrCat("Method", i)));
  }
  EXPECT_EQ(methods.size(), RpcMetrics::kMaxMethods + 1);
}

std::unique_ptr<KvStore> MakeStore() {
  auto store = LocalStore::Create({.capacity_bytes = 1 << 20});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// All metrics of all roles, each of which has happened once.
class RoleMetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RpcMetrics::Method& method = rpcs_.ForMethod("Read");
    method.Started();
    method.Ended(absl::StatusCode::kOk, absl::Seconds(1));
  }

  std::string Page() {
    return prometheus::TextSerializer().Serialize(metrics_.Collect());
  }

  Metrics metrics_{"1.2.3", "serve"};
  RpcMetrics rpcs_{metrics_.registry()};
  std::unique_ptr<KvStore> kv_store_ = MakeStore();
  StoreMetrics store_{metrics_, *kv_store_};
  PrefillMetrics prefill_{
      metrics_, [] { return Admission::Counts{.running = 2, .queued = 3}; }};
  DecodeMetrics decode_{metrics_, [] {
                          return DecodeCounts{.running = 4,
                                              .queued = 5,
                                              .reserved_bytes = 6,
                                              .batch_size = 7,
                                              .steps = 8,
                                              .step_tokens = 9};
                        }};
  GatewayMetrics gateway_{metrics_};
};

TEST_F(RoleMetricsTest, StoreTellsItsLevelAndCountsMissesByReason) {
  store_.CountMiss(MissReason::kEvicted);
  store_.CountMiss(MissReason::kNone);
  store_.CountRefusal(FrameRefusal::kChecksum);
  const std::string page = Page();
  EXPECT_THAT(page,
              HasSubstr("winnow_store_capacity_bytes{tier=\"host\"} 1048576"));
  EXPECT_THAT(page,
              HasSubstr("winnow_store_misses_total{reason=\"evicted\"} 1"));
  EXPECT_THAT(page,
              HasSubstr("winnow_store_misses_total{reason=\"absent\"} 0"));
  EXPECT_THAT(page, HasSubstr("winnow_store_frames_refused_total{reason="
                              "\"checksum\"} 1"));
  EXPECT_THAT(page, HasSubstr("# TYPE winnow_store_hits_total counter"));
}

TEST_F(RoleMetricsTest, PrefillCountsTokensBytesAndStages) {
  PrefillResult result;
  result.manifest.num_tokens = 1000;
  result.manifest.segments.emplace_back();  // a header alone
  const uint64_t stored = result.manifest.StoredBytes();
  ASSERT_GT(stored, 0u);
  result.reused_tokens = 640;
  result.times.compact = absl::Milliseconds(200);
  prefill_.Count(result, 3 * stored);
  prefill_.CountMiss(MissReason::kCorrupt);
  prefill_.CountMiss(MissReason::kNone);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("winnow_prefill_tokens_total 1000\n"));
  EXPECT_THAT(page, HasSubstr("winnow_prefill_reused_tokens_total 640\n"));
  EXPECT_THAT(page,
              HasSubstr(absl::StrCat("winnow_prefill_kv_stored_bytes_total ",
                                     stored, "\n")));
  EXPECT_THAT(page, HasSubstr("winnow_prefill_compression_ratio_sum 3\n"));
  EXPECT_THAT(page, HasSubstr("winnow_prefill_stage_seconds_sum{stage="
                              "\"compact\"} 0.2"));
  EXPECT_THAT(page,
              HasSubstr("winnow_prefill_misses_total{reason=\"corrupt\"} 1"));
  EXPECT_THAT(page,
              HasSubstr("winnow_prefill_misses_total{reason=\"evicted\"} 0"));
  EXPECT_THAT(page, HasSubstr("winnow_prefill_queue_depth 3\n"));
  EXPECT_THAT(page, HasSubstr("winnow_prefill_running 2\n"));
}

TEST_F(RoleMetricsTest, DecodeTellsItsSnapshotAndCountsResults) {
  DecodeResult result;
  result.tokens.resize(12);
  result.pulled_bytes = 4096;
  result.pull = absl::Milliseconds(500);
  decode_.Count(result);
  decode_.CountMiss(MissReason::kUnreachable);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("winnow_decode_running 4\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_queue_depth 5\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_reserved_bytes 6\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_batch_size 7\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_steps_total 8\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_step_tokens_total 9\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_tokens_total 12\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_pulled_bytes_total 4096\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_pull_seconds_sum 0.5\n"));
  EXPECT_THAT(page, HasSubstr("winnow_decode_misses_total{reason="
                              "\"unreachable\"} 1"));
}

TEST_F(RoleMetricsTest, GatewayCountsRequestsByCode) {
  gateway_.CountRequest(absl::StatusCode::kOk);
  gateway_.CountRequest(absl::StatusCode::kAborted);
  gateway_.completion_tokens.Increment(9);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("winnow_gateway_requests_total{code=\"OK\"} 1"));
  EXPECT_THAT(page,
              HasSubstr("winnow_gateway_requests_total{code=\"ABORTED\"} 1"));
  EXPECT_THAT(page, HasSubstr("winnow_gateway_completion_tokens_total 9\n"));
}

// Names, types and labels, as "name|type|a, b".
std::set<std::string> Described(
    const std::vector<prometheus::MetricFamily>& families) {
  std::set<std::string> described;
  for (const prometheus::MetricFamily& family : families) {
    const char* type =
        family.type == prometheus::MetricType::Counter ? "counter"
        : family.type == prometheus::MetricType::Gauge ? "gauge"
                                                       : "histogram";
    std::set<std::string> labels;
    for (const auto& metric : family.metric) {
      for (const auto& label : metric.label) {
        labels.insert(label.name);
      }
    }
    std::string line = absl::StrCat(family.name, "|", type, "|");
    for (const std::string& label : labels) {
      absl::StrAppend(&line, line.back() == '|' ? "" : ", ", label);
    }
    described.insert(line);
  }
  return described;
}

// Rows "| `name` | type | `label`, `label` | ..." of a table.
std::set<std::string> TableRows(const std::string& path) {
  std::ifstream file(path);
  std::set<std::string> rows;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `winnow_")) {
      continue;
    }
    std::string row;
    int cells = 0;
    for (const char byte : line.substr(2)) {
      cells += byte == '|' ? 1 : 0;
      if (cells == 3) {
        break;
      }
      if (byte == '|') {
        row.pop_back();  // the space before it
      }
      const bool is_padding = byte == ' ' && row.ends_with('|');
      if (byte != '`' && !is_padding) {
        row += byte;
      }
    }
    if (row.ends_with(' ')) {
      row.pop_back();
    }
    rows.insert(row);
  }
  return rows;
}

TEST_F(RoleMetricsTest, TheReadmeListsEveryMetricWithItsTypeAndLabels) {
  EXPECT_EQ(TableRows(WINNOW_SERVICES_README), Described(metrics_.Collect()));
}

}  // namespace
}  // namespace winnow
