#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/client_context.h>

#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"
#include "services/common/metrics.h"
#include "services/common/server.h"
#include "services/gateway/generation_service.h"
#include "tests/gpu/smollm2.h"
#include "winnow/v1/generation.grpc.pb.h"

namespace winnow {

// What a caller got.
struct CallOutcome {
  grpc::Status status;
  // Kinds of the events in their order: 'a'ccepted, 't'oken, 'f'inished.
  std::string order;
  v1::Accepted accepted;
  std::vector<v1::TokenEvent> tokens;
  v1::Finished finished;
  std::string text;
  std::string request_id;  // of the initial metadata

  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids;
    for (const v1::TokenEvent& token : tokens) {
      ids.push_back(token.id());
    }
    return ids;
  }
};

// A gateway on a free port of this machine, over roles of the test's.
class TestGateway {
 public:
  TestGateway(const GenerationRoles& roles, const Model& model,
              const Tokenizer& tokenizer, const TextLimits& limits)
      : service_({.roles = roles,
                  .model = model,
                  .tokenizer = tokenizer,
                  .model_name = "the-model",
                  .frame = frame_,
                  .metrics = &gateway_metrics_},
                 limits) {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.frames = {&frame_};
    grpc::Service* const services[] = {&service_};
    server_ = Server::Start(options, services).value();
    stub_ = v1::GenerationService::NewStub(
        MakeChannel(server_->addresses().front()));
  }

  // Asks, and calls `at_token` with every token.
  CallOutcome Ask(
      const v1::GenerateRequest& request,
      const std::function<void(grpc::ClientContext&)>& at_token = {}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::minutes(2));
    context.AddMetadata("x-request-id", "test-1");
    const auto reader = stub_->Generate(&context, request);
    CallOutcome outcome;
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      if (response.has_accepted()) {
        outcome.order += 'a';
        outcome.accepted = response.accepted();
      } else if (response.has_token()) {
        outcome.order += 't';
        outcome.tokens.push_back(response.token());
        outcome.text += response.token().text();
        if (at_token) {
          at_token(context);
        }
      } else {
        outcome.order += 'f';
        outcome.finished = response.finished();
        outcome.text += response.finished().text();
      }
    }
    outcome.status = reader->Finish();
    const auto id = context.GetServerInitialMetadata().find("x-request-id");
    if (id != context.GetServerInitialMetadata().end()) {
      outcome.request_id.assign(id->second.data(), id->second.size());
    }
    return outcome;
  }

  GatewayMetrics& metrics() { return gateway_metrics_; }
  // No call is left; false after ten seconds.
  bool WaitIdle() { return frame_.WaitIdle(absl::Seconds(10)); }

 private:
  Metrics metrics_{"test", "gateway"};
  RpcMetrics rpc_metrics_{metrics_.registry()};
  RpcFrame frame_{{}, rpc_metrics_};
  GatewayMetrics gateway_metrics_{metrics_};
  GenerationServiceImpl service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

}  // namespace winnow
