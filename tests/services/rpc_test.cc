#include "services/common/rpc.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/common/channel.h"
#include "services/common/grpc_status.h"
#include "services/common/metrics.h"
#include "services/common/request_id.h"
#include "services/common/retry_hint.h"
#include "services/common/server.h"
#include "winnow/v1/cache_store.grpc.pb.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

// Answers through a frame, with bodies that the tests choose: GetStats for a
// short RPC, GetCapabilities for one that counts as a stream, Read for a
// stream, Probe for a callback RPC.
class FramedService final
    : public v1::CacheStoreService::WithCallbackMethod_Probe<
          v1::CacheStoreService::Service> {
 public:
  using Body = std::function<absl::Status(const Call&)>;

  explicit FramedService(RpcFrame& frame) : frame_(frame) {}

  grpc::Status GetStats(grpc::ServerContext* context,
                        const v1::GetStatsRequest* /*request*/,
                        v1::GetStatsResponse* /*response*/) override {
    return frame_.Run(*context, "GetStats", body, RpcLoad::kShort);
  }
  grpc::Status GetCapabilities(
      grpc::ServerContext* context,
      const v1::GetCapabilitiesRequest* /*request*/,
      v1::GetCapabilitiesResponse* /*response*/) override {
    return frame_.Run(*context, "GetCapabilities", body);
  }
  // Writes until somebody stops it.
  grpc::Status Read(grpc::ServerContext* context,
                    const v1::ReadRequest* /*request*/,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override {
    return frame_.Run(*context, "Read", [&](const Call&) {
      v1::ReadResponse response;
      response.mutable_frame()->mutable_content()->resize(1 << 20);
      absl::Status status;
      while (status.ok()) {
        status = frame_.Write(*context, *writer, response);
      }
      read_ended.count_down();
      return status;
    });
  }
  grpc::ServerUnaryReactor* Probe(grpc::CallbackServerContext* context,
                                  const v1::ProbeRequest* /*request*/,
                                  v1::ProbeResponse* /*response*/) override {
    RpcFrame::Scope scope = frame_.Begin(*context, "Probe");
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(scope.Finish(scope.admitted().ok() ? body(scope.call())
                                                       : scope.admitted()));
    return reactor;
  }

  Body body = [](const Call&) { return absl::OkStatus(); };
  std::latch read_ended{1};

 private:
  RpcFrame& frame_;
};

class RpcTest : public ::testing::Test {
 protected:
  void Start(const RpcOptions& options) {
    frame_ = std::make_unique<RpcFrame>(options, rpc_metrics_);
    service_ = std::make_unique<FramedService>(*frame_);
    grpc::Service* const services[] = {service_.get()};
    auto server = Server::Start(
        {.listen = {"127.0.0.1:0"}, .frames = {frame_.get()}}, services);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::CacheStoreService::NewStub(
        MakeChannel(server_->addresses().front()));
  }

  grpc::Status GetStats(grpc::ClientContext& context) {
    v1::GetStatsResponse response;
    return stub_->GetStats(&context, {}, &response);
  }
  grpc::Status GetCapabilities(grpc::ClientContext& context) {
    v1::GetCapabilitiesResponse response;
    return stub_->GetCapabilities(&context, {}, &response);
  }

  static std::string RequestIdOf(const grpc::ClientContext& context) {
    const auto& metadata = context.GetServerInitialMetadata();
    const auto entry = metadata.find(kRequestIdKey);
    return entry == metadata.end()
               ? ""
               : std::string(entry->second.data(), entry->second.size());
  }

  // Of winnow_rpc_requests_total.
  double Count(const std::string& method, const std::string& code) {
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      if (family.name != "winnow_rpc_requests_total") {
        continue;
      }
      for (const prometheus::ClientMetric& metric : family.metric) {
        std::set<std::string> labels;
        for (const auto& label : metric.label) {
          labels.insert(label.name + "=" + label.value);
        }
        if (labels ==
            std::set<std::string>{"method=" + method, "code=" + code}) {
          return metric.counter.value;
        }
      }
    }
    return 0;
  }

  Metrics metrics_{"1.2.3", "test"};
  RpcMetrics rpc_metrics_{metrics_.registry()};
  std::unique_ptr<RpcFrame> frame_;
  std::unique_ptr<FramedService> service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::CacheStoreService::Stub> stub_;
};

absl::Status SleepUntilEnded(const Call& call) {
  absl::Status status;
  while (status.ok()) {
    absl::SleepFor(absl::Milliseconds(5));
    status = call.Check(Clock::Real());
  }
  return status;
}

TEST_F(RpcTest, GivesAValidRequestIdToTheBodyAndBack) {
  Start({});
  std::string seen;
  service_->body = [&](const Call& call) {
    seen = call.request_id;
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdKey, "Turn-7_of.12");
  EXPECT_TRUE(GetStats(context).ok());
  EXPECT_EQ(seen, "Turn-7_of.12");
  EXPECT_EQ(RequestIdOf(context), "Turn-7_of.12");
}

TEST_F(RpcTest, ReplacesAnInvalidOrAbsentRequestIdByANewOne) {
  Start({});
  std::set<std::string> ids;
  for (const std::string& given :
       {std::string("two words"), std::string(65, 'a'), std::string()}) {
    grpc::ClientContext context;
    if (!given.empty()) {
      context.AddMetadata(kRequestIdKey, given);
    }
    EXPECT_TRUE(GetStats(context).ok());
    EXPECT_NE(RequestIdOf(context), given);
    EXPECT_TRUE(IsRequestId(RequestIdOf(context))) << RequestIdOf(context);
    ids.insert(RequestIdOf(context));
  }
  EXPECT_EQ(ids.size(), 3u);
}

TEST_F(RpcTest, AppliesTheDefaultDeadlineWhereTheCallerGivesNone) {
  Start({.default_deadline = absl::Milliseconds(80)});
  service_->body = SleepUntilEnded;
  grpc::ClientContext context;
  EXPECT_EQ(GetStats(context).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Count("GetStats", "DEADLINE_EXCEEDED"), 1);
}

TEST_F(RpcTest, CutsADeadlineToTheMaximumAndKeepsAShorterOne) {
  Start({.default_deadline = absl::Seconds(1),
         .max_deadline = absl::Seconds(20)});
  absl::Duration left;
  service_->body = [&](const Call& call) {
    left = call.deadline - Clock::Real().Monotonic();
    return absl::OkStatus();
  };
  grpc::ClientContext hour;
  hour.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  EXPECT_TRUE(GetStats(hour).ok());
  EXPECT_LE(left, absl::Seconds(20));
  EXPECT_GT(left, absl::Seconds(15));
  grpc::ClientContext seconds;
  seconds.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(6));
  EXPECT_TRUE(GetStats(seconds).ok());
  EXPECT_LE(left, absl::Seconds(7));  // gRPC rounds up on the wire
  EXPECT_GT(left, absl::Seconds(2));
}

TEST_F(RpcTest, EndsAHandlerThatSitsInAWriteAtItsDeadline) {
  Start({.default_deadline = absl::Milliseconds(200)});
  grpc::ClientContext context;
  const absl::Time started = absl::Now();
  const auto reader = stub_->Read(&context, {});
  service_->read_ended.wait();  // without one Read of the client
  EXPECT_LT(absl::Now() - started, absl::Seconds(5));
  v1::ReadResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(frame_->WaitIdle(absl::Seconds(5)));
  EXPECT_EQ(Count("Read", "DEADLINE_EXCEEDED"), 1);
}

TEST_F(RpcTest, EndsAStreamWhoseCallerDoesNotRead) {
  Start({.write_stall_timeout = absl::Milliseconds(150)});
  grpc::ClientContext context;
  const absl::Time started = absl::Now();
  const auto reader = stub_->Read(&context, {});
  service_->read_ended.wait();
  EXPECT_LT(absl::Now() - started, absl::Seconds(5));
  v1::ReadResponse response;
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("read faster"));
}

TEST_F(RpcTest, TellsTheBodyThatTheCallerHasGone) {
  Start({});
  std::latch running(1);
  service_->body = [&](const Call& call) {
    running.count_down();
    return SleepUntilEnded(call);
  };
  grpc::ClientContext context;
  std::thread canceller([&] {
    running.wait();
    context.TryCancel();
  });
  EXPECT_EQ(GetStats(context).error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(frame_->WaitIdle(absl::Seconds(5)));
  EXPECT_EQ(Count("GetStats", "CANCELLED"), 1);
}

TEST_F(RpcTest, ACopyOfACallMayOutliveItsRpc) {
  Start({});
  std::optional<Call> copy;
  service_->body = [&](const Call& call) {
    copy = call;
    EXPECT_TRUE(call.Check(Clock::Real()).ok());
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  EXPECT_TRUE(GetStats(context).ok());
  EXPECT_EQ(copy->Check(Clock::Real()).code(), absl::StatusCode::kCancelled);
}

TEST_F(RpcTest, RefusesAStreamOverTheMaximumWithARetryHint) {
  Start({.max_streams = 1, .retry_hint = absl::Milliseconds(750)});
  std::latch running(1);
  std::latch release(1);
  std::atomic<bool> first_call = true;
  service_->body = [&](const Call&) {
    if (first_call.exchange(false)) {
      running.count_down();
      release.wait();
    }
    return absl::OkStatus();
  };
  std::thread first([&] {
    grpc::ClientContext context;
    EXPECT_TRUE(GetCapabilities(context).ok());
  });
  running.wait();
  grpc::ClientContext context;
  const absl::Status refused =
      FromGrpcStatus(GetCapabilities(context), context);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryHint(refused), absl::Milliseconds(750));

  grpc::ClientContext brief;
  EXPECT_TRUE(GetStats(brief).ok());  // does not count as a stream
  release.count_down();
  first.join();
  grpc::ClientContext again;
  EXPECT_TRUE(GetCapabilities(again).ok());
}

TEST_F(RpcTest, CarriesCodeMessageAndHintOfABody) {
  Start({});
  service_->body = [](const Call&) {
    absl::Status status = absl::ResourceExhaustedError("3 of 4 are leased");
    SetRetryHint(status, absl::Seconds(2));
    return status;
  };
  grpc::ClientContext context;
  const absl::Status status = FromGrpcStatus(GetStats(context), context);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "3 of 4 are leased");
  EXPECT_EQ(RetryHint(status), absl::Seconds(2));
  EXPECT_EQ(Count("GetStats", "RESOURCE_EXHAUSTED"), 1);
  EXPECT_EQ(Count("GetStats", "OK"), 0);
}

TEST_F(RpcTest, ServesCallbackMethodsTheSameWay) {
  Start({});
  service_->body = [](const Call& call) {
    return absl::NotFoundError(call.request_id);
  };
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdKey, "callback.1");
  v1::ProbeResponse response;
  const grpc::Status status = stub_->Probe(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "callback.1");
  EXPECT_EQ(RequestIdOf(context), "callback.1");
  EXPECT_EQ(Count("Probe", "NOT_FOUND"), 1);
  EXPECT_EQ(frame_->in_flight(), 0);
}

TEST_F(RpcTest, RefusesEverythingWhileItDrains) {
  Start({});
  frame_->Drain();
  grpc::ClientContext context;
  const grpc::Status status = GetStats(context);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("draining"));
}

}  // namespace
}  // namespace winnow
