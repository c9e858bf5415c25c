#include "services/prefill/prefill_service.h"

#include "gpu/base/status.h"
#include "services/common/prefill_wire.h"

namespace winnow {

grpc::Status PrefillServiceImpl::Prefill(grpc::ServerContext* context,
                                         const v1::PrefillRequest* request,
                                         v1::PrefillResponse* response) {
  return frame_.Run(*context, "Prefill", [&](const Call& call) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(const PrefillRequest ours, FromWire(*request));
    WINNOW_ASSIGN_OR_RETURN(const PrefillResult result,
                            prefiller_.Run(ours, call));
    ToWire(result, response);
    return absl::OkStatus();
  });
}

}  // namespace winnow
