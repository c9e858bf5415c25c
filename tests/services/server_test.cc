#include "services/common/server.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpc/grpc.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/common/listen_address.h"
#include "services/common/metrics.h"
#include "services/common/socket_buffers.h"
#include "winnow/v1/cache_store.grpc.pb.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

constexpr char kServiceName[] = "winnow.v1.CacheStoreService";

class StatsService final : public v1::CacheStoreService::Service {
 public:
  explicit StatsService(RpcFrame& frame) : frame_(frame) {}
  grpc::Status GetStats(grpc::ServerContext* context,
                        const v1::GetStatsRequest* /*request*/,
                        v1::GetStatsResponse* response) override {
    return frame_.Run(*context, "GetStats", [&](const Call& call) {
      response->set_capacity_bytes(4711);
      return body(call);
    });
  }

  std::function<absl::Status(const Call&)> body = [](const Call&) {
    return absl::OkStatus();
  };

 private:
  RpcFrame& frame_;
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                absl::StrCat("winnow_server_", ::getpid(), "_",
                             ::testing::UnitTest::GetInstance()
                                 ->current_test_info()
                                 ->line())) {
    std::filesystem::create_directories(folder_);
  }
  ~ServerTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options) {
    options.frames = {&frame_};
    grpc::Service* const services[] = {&service_};
    return Server::Start(options, services);
  }

  // Capacity from GetStats, 0 on an error.
  static uint64_t Ask(const std::string& address) {
    const auto stub = v1::CacheStoreService::NewStub(MakeChannel(address));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(10));
    v1::GetStatsResponse response;
    return stub->GetStats(&context, {}, &response).ok()
               ? response.capacity_bytes()
               : 0;
  }

  // Answer of grpc.health.v1: 1 SERVING, 2 NOT_SERVING; -1 on an error.
  static int Health(const std::shared_ptr<grpc::Channel>& channel,
                    const std::string& service) {
    // HealthCheckRequest { string service = 1; }
    std::string bytes;
    if (!service.empty()) {
      bytes = absl::StrCat(
          "\x0a", std::string(1, static_cast<char>(service.size())), service);
    }
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(10));
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(
        &context, "/grpc.health.v1.Health/Check", request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    grpc::Slice answer;
    // HealthCheckResponse { ServingStatus status = 1; }
    if (!status.ok() || !response.DumpToSingleSlice(&answer).ok() ||
        answer.size() != 2 || answer.begin()[0] != 0x08) {
      return -1;
    }
    return answer.begin()[1];
  }

  const std::filesystem::path folder_;
  Metrics metrics_{"1.2.3", "test"};
  RpcMetrics rpc_metrics_{metrics_.registry()};
  RpcFrame frame_{RpcOptions{}, rpc_metrics_};
  StatsService service_{frame_};
};

TEST_F(ServerTest, ServesOnFreePortsOfBothFamiliesAndOnASocket) {
  const std::string path = folder_ / "store.sock";
  auto server =
      Start({.listen = {"127.0.0.1:0", "localhost:0", "unix:" + path}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->ports().size(), 3u);
  EXPECT_GT((*server)->ports()[0], 0);
  EXPECT_NE((*server)->ports()[0], (*server)->ports()[1]);
  EXPECT_EQ((*server)->ports()[2], 0);
  EXPECT_EQ((*server)->addresses()[2], "unix:" + path);
  for (const std::string& address : (*server)->addresses()) {
    EXPECT_EQ(Ask(address), 4711u) << address;
  }
}

TEST_F(ServerTest, ASocketIsForItsOwnerAlone) {
  const std::string path = folder_ / "store.sock";
  const mode_t mask = ::umask(0);
  auto server = Start({.listen = {"unix:" + path}});
  EXPECT_EQ(::umask(mask), 0u);  // as it was
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat found = {};
  ASSERT_EQ(::stat(path.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(ServerTest, RefusesAnAddressThatOthersCanReach) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "10.1.2.3:7700"}) {
    const auto server = Start({.listen = {address}});
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(server.status().message()),
                HasSubstr("--insecure-listen"));
  }
  auto server = Start({.listen = {"0.0.0.0:0"}, .insecure_listen = true});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(Ask(absl::StrCat("127.0.0.1:", (*server)->ports()[0])), 4711u);
}

TEST_F(ServerTest, RefusesAddressesThatItCannotRead) {
  for (const char* address :
       {"", "7700", "127.0.0.1", "127.0.0.1:70000", "example.org:7700",
        "unix:relative", "[::1:7700", "127.1:7700"}) {
    EXPECT_EQ(Start({.listen = {address}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
  EXPECT_EQ(Start({.listen = {}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ServerTest, SaysThatAPortIsTaken) {
  auto first = Start({.listen = {"127.0.0.1:0"}});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = (*first)->addresses().front();
  const auto second = Start({.listen = {address}});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(address));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
  EXPECT_EQ(Ask(address), 4711u);
}

// A socket file whose server is gone.
void LeaveSocket(const std::string& path) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::bind(descriptor, reinterpret_cast<const sockaddr*>(&name),
                   sizeof(name)),
            0);
  ::close(descriptor);
}

TEST_F(ServerTest, ReplacesTheSocketOfADeadServer) {
  const std::string path = folder_ / "store.sock";
  LeaveSocket(path);
  ASSERT_TRUE(std::filesystem::exists(path));
  auto server = Start({.listen = {"unix:" + path}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(Ask("unix:" + path), 4711u);
}

TEST_F(ServerTest, LeavesTheSocketOfALiveServerAlone) {
  const std::string path = folder_ / "store.sock";
  auto first = Start({.listen = {"unix:" + path}});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Start({.listen = {"unix:" + path}}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Ask("unix:" + path), 4711u);
}

TEST_F(ServerTest, NeverRemovesAFileThatIsNoSocket) {
  const std::string path = folder_ / "notes.txt";
  std::ofstream(path) << "keep me";
  EXPECT_EQ(Start({.listen = {"unix:" + path}}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::filesystem::file_size(path), 7u);
  EXPECT_EQ(Start({.listen = {absl::StrCat("unix:", folder_.string(),
                                           "/none/store.sock")}})
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ServerTest, TellsTheHealthOfEveryService) {
  auto server = Start({.listen = {"127.0.0.1:0"}});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel = MakeChannel((*server)->addresses().front());
  EXPECT_EQ(Health(channel, ""), 1);
  EXPECT_EQ(Health(channel, kServiceName), 1);
  EXPECT_EQ(Health(channel, "winnow.v1.NoSuchService"), -1);
}

TEST_F(ServerTest, DrainFlipsHealthFirstThenRefusesThenEnds) {
  auto server = Start(
      {.listen = {"127.0.0.1:0"}, .drain_notice = absl::Milliseconds(600)});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses().front();
  const auto channel = MakeChannel(address);
  std::latch running(1);
  std::latch release(1);
  std::atomic<bool> first_call = true;
  service_.body = [&](const Call&) {
    if (first_call.exchange(false)) {
      running.count_down();
      release.wait();
    }
    return absl::OkStatus();
  };
  uint64_t slow_answer = 0;
  std::thread slow([&] { slow_answer = Ask(address); });
  running.wait();

  absl::Status drained = absl::UnknownError("not yet");
  std::thread drainer([&] { drained = (*server)->Drain(absl::Seconds(20)); });
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (Health(channel, "") != 2 && absl::Now() < limit) {
  }
  EXPECT_EQ(Health(channel, kServiceName), 2);
  EXPECT_EQ(Ask(address), 4711u);  // within the notice
  const auto stub = v1::CacheStoreService::NewStub(channel);
  grpc::Status refused;
  while (refused.ok() && absl::Now() < limit) {
    grpc::ClientContext context;
    v1::GetStatsResponse response;
    refused = stub->GetStats(&context, {}, &response);
  }
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("draining"));

  release.count_down();
  slow.join();
  drainer.join();
  EXPECT_EQ(slow_answer, 4711u);  // ended by itself
  EXPECT_TRUE(drained.ok()) << drained;
  EXPECT_EQ(Ask(address), 0u);
}

TEST_F(ServerTest, DrainCancelsWhatOutlivesItsTimeout) {
  auto server = Start({.listen = {"127.0.0.1:0"}});
  ASSERT_TRUE(server.ok()) << server.status();
  std::latch running(1);
  service_.body = [&](const Call& call) {
    running.count_down();
    while (call.Check(Clock::Real()).ok()) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return call.Check(Clock::Real());
  };
  const std::string address = (*server)->addresses().front();
  uint64_t answer = 1;
  std::thread slow([&] { answer = Ask(address); });
  running.wait();
  const absl::Time started = absl::Now();
  EXPECT_EQ((*server)->Drain(absl::Milliseconds(100)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - started, absl::Seconds(5));
  slow.join();
  EXPECT_EQ(answer, 0u);
  EXPECT_TRUE((*server)->Drain(absl::Seconds(1)).ok());
}

TEST_F(ServerTest, RefusesMessagesOverItsLimit) {
  auto server =
      Start({.listen = {"127.0.0.1:0"}, .max_message_bytes = 64 << 10});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::CacheStoreService::NewStub(
      MakeChannel((*server)->addresses().front()));
  v1::RemoveRequest request;
  request.add_keys(std::string(65 << 10, 'x'));
  v1::RemoveResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub->Remove(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(TransportTest, GivesKeepaliveAndFramesToBothEnds) {
  std::map<std::string, int> arguments;
  ForEachTransportArgument(
      {.time = absl::Seconds(7),
       .timeout = absl::Seconds(3),
       .min_interval = absl::Seconds(2)},
      [&](const std::string& name, int value) { arguments[name] = value; });
  EXPECT_EQ(arguments[GRPC_ARG_KEEPALIVE_TIME_MS], 7000);
  EXPECT_EQ(arguments[GRPC_ARG_KEEPALIVE_TIMEOUT_MS], 3000);
  EXPECT_EQ(arguments[GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS],
            2000);
  EXPECT_EQ(arguments[GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS], 1);
  EXPECT_EQ(arguments[GRPC_ARG_HTTP2_MAX_FRAME_SIZE], 2 << 20);
}

TEST(ListenAddressTest, KnowsWhatOnlyThisMachineReaches) {
  const auto loopback = [](const char* text) {
    const auto address = ParseListenAddress(text);
    EXPECT_TRUE(address.ok()) << address.status();
    return address.ok() && address->is_loopback();
  };
  EXPECT_TRUE(loopback("127.0.0.1:1"));
  EXPECT_TRUE(loopback("127.9.9.9:1"));
  EXPECT_TRUE(loopback("localhost:1"));
  EXPECT_TRUE(loopback("[::1]:1"));
  EXPECT_TRUE(loopback("unix:/tmp/x.sock"));
  EXPECT_FALSE(loopback("128.0.0.1:1"));
  EXPECT_FALSE(loopback("0.0.0.0:1"));
  EXPECT_FALSE(loopback("[::]:1"));
  EXPECT_FALSE(loopback("[::2]:1"));
  EXPECT_EQ(ParseListenAddress("[::1]:8")->ToString(), "[::1]:8");
}

// Send buffers of this process's UNIX sockets that belong to `path`, the ends
// of the server and those of its callers.
std::vector<int> SendBuffersAt(const std::string& path) {
  std::vector<int> buffers;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_un name = {};
    sockaddr_un peer = {};
    socklen_t name_size = sizeof(name);
    socklen_t peer_size = sizeof(peer);
    int bytes = 0;
    socklen_t size = sizeof(bytes);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&name), &name_size) == 0 &&
        peer.sun_family == AF_UNIX &&
        (name.sun_path == path || peer.sun_path == path) &&
        getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) == 0) {
      buffers.push_back(bytes);
    }
  }
  return buffers;
}

TEST_F(ServerTest, UnixSocketsHaveLargeBuffers) {
  if (!kCanEnlargeSocketBuffers) {
    GTEST_SKIP() << "not with gRPC " << GRPC_CPP_VERSION_STRING;
  }
  const std::string path = folder_ / "buffers.sock";
  const auto server = Start({.listen = {"unix:" + path}});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel = MakeChannel("unix:" + path);
  ASSERT_EQ(Health(channel, ""), 1);
  int most = 0;  // that a process may ask for; the kernel books twice of it
  ASSERT_TRUE(std::ifstream("/proc/sys/net/core/wmem_max") >> most);
  EXPECT_THAT(SendBuffersAt(path),
              ::testing::AllOf(
                  ::testing::SizeIs(2),
                  ::testing::Each(::testing::Ge(std::min(1 << 20, 2 * most)))));
}

}  // namespace
}  // namespace winnow
