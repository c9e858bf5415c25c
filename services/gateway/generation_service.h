#pragma once

#include <string>

#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"
#include "services/common/rpc.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/generation.h"
#include "services/gateway/text_request.h"
#include "winnow/v1/generation.grpc.pb.h"

namespace winnow {

// What the gateway answers with.  All that is referred to outlives the service.
struct GatewayParts {
  GenerationRoles roles;  // the service sets on_rebuild
  const Model& model;
  const Tokenizer& tokenizer;
  std::string model_name;  // that requests may name
  RpcFrame& frame;
  GatewayMetrics* metrics = nullptr;  // null: nothing is counted
};

// GenerationService (proto/winnow/v1/generation.proto).  Thread-safe.
class GenerationServiceImpl final : public v1::GenerationService::Service {
 public:
  GenerationServiceImpl(const GatewayParts& parts, const TextLimits& limits);

  grpc::Status Generate(
      grpc::ServerContext* context, const v1::GenerateRequest* request,
      grpc::ServerWriter<v1::GenerateResponse>* writer) override;

 private:
  using Writer = grpc::ServerWriter<v1::GenerateResponse>;

  absl::Status Answer(grpc::ServerContext& context,
                      const v1::GenerateRequest& wire, Writer& writer,
                      const Call& call);
  absl::StatusOr<TextRequest> Decode(const v1::GenerateRequest& wire) const;
  v1::Accepted Accepted(const PromptTokens& prompt, const Call& call) const;

  GatewayParts parts_;
  const TextLimits limits_;
};

}  // namespace winnow
