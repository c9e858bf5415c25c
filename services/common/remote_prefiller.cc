#include "services/common/remote_prefiller.h"

#include "absl/strings/str_cat.h"

#include "services/common/prefill_wire.h"

namespace winnow {

RemotePrefiller::RemotePrefiller(const std::shared_ptr<grpc::Channel>& channel,
                                 const std::string& address)
    : peer_(absl::StrCat("the prefill service at ", address)),
      stub_(v1::PrefillService::NewStub(channel)) {}

absl::StatusOr<PrefillResult> RemotePrefiller::Run(
    const PrefillRequest& request, const Call& call) {
  v1::PrefillRequest wire;
  ToWire(request, &wire);
  v1::PrefillResponse response;
  grpc::ClientContext context;
  const ClientCalls::Guard guard = calls_.Start(context, call);
  const grpc::Status status = stub_->Prefill(&context, wire, &response);
  if (!status.ok()) {
    return PeerStatus(status, context, peer_);
  }
  return FromWire(response, /*tenant_salt=*/"");
}

}  // namespace winnow
