#pragma once

#include <memory>
#include <string>

#include <grpcpp/channel.h>

#include "services/common/client_call.h"
#include "services/common/decoder.h"
#include "winnow/v1/decode.grpc.pb.h"

namespace winnow {

// A decode service at another address.
class RemoteDecoder final : public Decoder {
 public:
  // `address` is for messages.
  RemoteDecoder(const std::shared_ptr<grpc::Channel>& channel,
                const std::string& address);

  absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                   const Call& call, TokenSink sink) override;

 private:
  const std::string peer_;
  const std::unique_ptr<v1::DecodeService::Stub> stub_;
  ClientCalls calls_;
};

}  // namespace winnow
