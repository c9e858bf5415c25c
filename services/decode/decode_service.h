#pragma once

#include "services/common/decoder.h"
#include "services/common/rpc.h"
#include "winnow/v1/decode.grpc.pb.h"

namespace winnow {

// DecodeService (proto/winnow/v1/decode.proto) over a decoder of this process.
// Thread-safe; both arguments outlive it.
class DecodeServiceImpl final : public v1::DecodeService::Service {
 public:
  DecodeServiceImpl(Decoder& decoder, RpcFrame& frame)
      : decoder_(decoder), frame_(frame) {}

  grpc::Status Decode(grpc::ServerContext* context,
                      const v1::DecodeRequest* request,
                      grpc::ServerWriter<v1::DecodeResponse>* writer) override;

 private:
  absl::Status Stream(grpc::ServerContext& context,
                      const v1::DecodeRequest& request,
                      grpc::ServerWriter<v1::DecodeResponse>& writer,
                      const Call& call);

  Decoder& decoder_;
  RpcFrame& frame_;
};

}  // namespace winnow
