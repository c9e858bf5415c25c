#pragma once

#include <memory>
#include <string>

#include <grpcpp/channel.h>

#include "services/common/client_call.h"
#include "services/common/prefiller.h"
#include "winnow/v1/prefill.grpc.pb.h"

namespace winnow {

// A prefill service at another address.
class RemotePrefiller final : public Prefiller {
 public:
  // `address` is for messages.
  RemotePrefiller(const std::shared_ptr<grpc::Channel>& channel,
                  const std::string& address);

  absl::StatusOr<PrefillResult> Run(const PrefillRequest& request,
                                    const Call& call) override;

 private:
  const std::string peer_;
  const std::unique_ptr<v1::PrefillService::Stub> stub_;
  ClientCalls calls_;
};

}  // namespace winnow
