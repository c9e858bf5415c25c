#include "services/common/decode_wire.h"

#include "gpu/base/status.h"
#include "services/common/manifest_wire.h"
#include "services/common/wire.h"

namespace winnow {

void ToWire(const DecodeRequest& request, v1::DecodeRequest* wire) {
  ToWire(request.manifest, wire->mutable_manifest());
  wire->set_first_token(request.first_token);
  wire->set_max_tokens(request.max_tokens);
  ToWire(request.sampling, wire->mutable_sampling());
  wire->set_ignore_eos(request.ignore_eos);
  wire->mutable_forced()->Assign(request.forced.begin(), request.forced.end());
}

absl::StatusOr<DecodeRequest> FromWire(const v1::DecodeRequest& wire,
                                       const std::string& tenant_salt) {
  DecodeRequest request;
  WINNOW_ASSIGN_OR_RETURN(request.manifest,
                          FromWire(wire.manifest(), tenant_salt));
  request.first_token = wire.first_token();
  request.max_tokens = wire.max_tokens();
  WINNOW_ASSIGN_OR_RETURN(request.sampling, FromWire(wire.sampling()));
  request.ignore_eos = wire.ignore_eos();
  request.forced.assign(wire.forced().begin(), wire.forced().end());
  return request;
}

v1::FinishReason ToWire(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      break;  // the stream ends with a status instead
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

FinishReason FromWire(v1::FinishReason wire) {
  switch (wire) {
    case v1::FINISH_REASON_STOP:
      return FinishReason::kStop;
    case v1::FINISH_REASON_LENGTH:
      return FinishReason::kLength;
    default:
      return FinishReason::kCancelled;
  }
}

void ToWire(const DecodeResult& result, v1::DecodeFinished* wire) {
  wire->set_reason(ToWire(result.finish_reason));
  wire->set_pulled_bytes(result.pulled_bytes);
  ToWire(result.queue, wire->mutable_queue());
  ToWire(result.pull, wire->mutable_pull());
  ToWire(result.decode, wire->mutable_decode());
}

DecodeResult FromWire(const v1::DecodeFinished& wire) {
  DecodeResult result;
  result.finish_reason = FromWire(wire.reason());
  result.pulled_bytes = wire.pulled_bytes();
  result.queue = FromWire(wire.queue());
  result.pull = FromWire(wire.pull());
  result.decode = FromWire(wire.decode());
  return result;
}

}  // namespace winnow
