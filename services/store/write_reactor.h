#pragma once

#include <optional>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"

#include "services/common/rpc.h"
#include "services/common/watchdog.h"
#include "services/store/store_service.h"
#include "services/store/write_session.h"

namespace winnow {

// One Write stream: a message is read, taken by the session, and answered
// before the next one is read.  Owns itself from construction to OnDone; gRPC
// calls it from one thread at a time.
class WriteReactor final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  WriteReactor(const StoreStream& stream, const StoreServiceOptions& options,
               StoreStreamCounters& counters);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  ~WriteReactor() override = default;

  void Listen();
  void CountRefusal(FrameRefusal reason);
  // Drops the session, so that whoever sees the status finds nothing left.
  void End(const absl::Status& status);

  RpcFrame& frame_;
  grpc::CallbackServerContext& context_;
  const StoreServiceOptions options_;
  StoreStreamCounters& counters_;
  RpcFrame::Scope scope_;
  std::optional<WriteSession> session_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer reply_;
  Watchdog::Guard guard_;  // of the read or write in flight
};

}  // namespace winnow
