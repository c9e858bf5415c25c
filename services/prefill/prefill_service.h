#pragma once

#include "services/common/prefiller.h"
#include "services/common/rpc.h"
#include "winnow/v1/prefill.grpc.pb.h"

namespace winnow {

// PrefillService (proto/winnow/v1/prefill.proto) over a prefiller of this
// process.  Thread-safe; both arguments outlive it.
class PrefillServiceImpl final : public v1::PrefillService::Service {
 public:
  PrefillServiceImpl(Prefiller& prefiller, RpcFrame& frame)
      : prefiller_(prefiller), frame_(frame) {}

  grpc::Status Prefill(grpc::ServerContext* context,
                       const v1::PrefillRequest* request,
                       v1::PrefillResponse* response) override;

 private:
  Prefiller& prefiller_;
  RpcFrame& frame_;
};

}  // namespace winnow
