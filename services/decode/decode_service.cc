#include "services/decode/decode_service.h"

#include "gpu/base/status.h"
#include "services/common/decode_wire.h"
#include "services/common/wire.h"

namespace winnow {

grpc::Status DecodeServiceImpl::Decode(
    grpc::ServerContext* context, const v1::DecodeRequest* request,
    grpc::ServerWriter<v1::DecodeResponse>* writer) {
  return frame_.Run(*context, "Decode", [&](const Call& call) {
    return Stream(*context, *request, *writer, call);
  });
}

absl::Status DecodeServiceImpl::Stream(
    grpc::ServerContext& context, const v1::DecodeRequest& request,
    grpc::ServerWriter<v1::DecodeResponse>& writer, const Call& call) {
  WINNOW_ASSIGN_OR_RETURN(const DecodeRequest ours,
                          FromWire(request, /*tenant_salt=*/""));
  absl::Status written;
  v1::DecodeResponse response;
  const auto send = [&](const TokenChoice& token) {
    ToWire(token, response.mutable_token());
    written = frame_.Write(context, writer, response);
    return written.ok();
  };
  WINNOW_ASSIGN_OR_RETURN(const DecodeResult result,
                          decoder_.Run(ours, call, send));
  WINNOW_RETURN_IF_ERROR(written);
  ToWire(result, response.mutable_finished());
  return frame_.Write(context, writer, response);
}

}  // namespace winnow
