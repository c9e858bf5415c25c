#include "services/common/remote_decoder.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "services/common/decode_wire.h"
#include "services/common/wire.h"

namespace winnow {

RemoteDecoder::RemoteDecoder(const std::shared_ptr<grpc::Channel>& channel,
                             const std::string& address)
    : peer_(absl::StrCat("the decode service at ", address)),
      stub_(v1::DecodeService::NewStub(channel)) {}

absl::StatusOr<DecodeResult> RemoteDecoder::Run(const DecodeRequest& request,
                                                const Call& call,
                                                TokenSink sink) {
  v1::DecodeRequest wire;
  ToWire(request, &wire);
  grpc::ClientContext context;
  const ClientCalls::Guard guard = calls_.Start(context, call);
  const auto reader = stub_->Decode(&context, wire);
  std::vector<TokenChoice> tokens;
  std::optional<DecodeResult> finished;
  bool stopped = false;
  v1::DecodeResponse response;
  while (reader->Read(&response)) {
    if (response.has_finished()) {
      finished = FromWire(response.finished());
    } else if (!stopped) {
      tokens.push_back(FromWire(response.token()));
      stopped = !sink(tokens.back());
      if (stopped) {
        context.TryCancel();
      }
    }
  }
  const grpc::Status status = reader->Finish();
  if (stopped) {
    finished.emplace().finish_reason = FinishReason::kCancelled;
  } else if (!status.ok()) {
    return PeerStatus(status, context, peer_);
  } else if (!finished.has_value()) {
    return absl::InternalError(
        absl::StrCat(peer_, " ended its answer without saying why"));
  }
  finished->tokens = std::move(tokens);
  return *std::move(finished);
}

}  // namespace winnow
