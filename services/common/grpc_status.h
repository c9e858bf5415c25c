#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace winnow {

inline constexpr size_t kMaxStatusMessage = 1024;  // bytes on the wire

// The status as callers see it: the same code, UNKNOWN as INTERNAL; the
// message cut to kMaxStatusMessage bytes of valid UTF-8, bytes that are not
// become U+FFFD.  A retry hint (retry_hint.h) does not travel in it: see
// AddRetryTrailer.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Sends the retry hint of `status`, if it has one, as the trailing metadata
// `grpc-retry-pushback-ms`.  Before the call is finished, from its thread.
void AddRetryTrailer(grpc::ServerContextBase& context,
                     const absl::Status& status);

// The status of a call that a peer answered, messages bounded as above:
// UNKNOWN becomes INTERNAL.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The same with the retry hint of the finished call's trailer.  A trailer that
// is not a number from 0 to one hour in milliseconds is ignored.
absl::Status FromGrpcStatus(const grpc::Status& status,
                            const grpc::ClientContext& context);

}  // namespace winnow
