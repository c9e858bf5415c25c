#pragma once

#include <memory>
#include <string>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace winnow {

// One stream of raw messages, driven by the thread that calls: each call waits
// for its end, no longer than `limit` nor than somebody waits for the call of
// its thread (call_scope.h); past either the stream is cancelled.
//
// False means that the stream has ended: Finish says why.  Not thread-safe.
class RemoteStoreStream {
 public:
  // Opens a stream of `method` ("/winnow.v1.CacheStoreService/Read") that ends
  // after `deadline` at the latest.  `peer` goes into messages ("the cache
  // store at 127.0.0.1:7702").
  RemoteStoreStream(const std::shared_ptr<grpc::Channel>& channel,
                    const std::string& method, std::string peer,
                    absl::Duration deadline);
  // Cancels what has not been finished.
  ~RemoteStoreStream();
  RemoteStoreStream(const RemoteStoreStream&) = delete;
  RemoteStoreStream& operator=(const RemoteStoreStream&) = delete;

  bool Start(absl::Duration limit);
  bool Send(const grpc::ByteBuffer& message, absl::Duration limit);
  // The same for a message that more will follow soon: up to 2 MiB of those
  // wait for each other, and all go with the next one that is sent.  Not for
  // the first.
  bool SendSoon(const grpc::ByteBuffer& message, absl::Duration limit);
  bool SendLast(const grpc::ByteBuffer& message, absl::Duration limit);
  bool CloseSending(absl::Duration limit);
  // Looks for the message over and over before the thread sleeps: see the
  // source.
  bool Receive(grpc::ByteBuffer& message, absl::Duration limit);
  void Cancel() { context_.TryCancel(); }

  // Whether it was cancelled because nobody waits for it.
  bool abandoned() const { return abandoned_; }

  // How the stream ended; waits for that.  DEADLINE_EXCEEDED if a limit or the
  // deadline passed, CANCELLED if it was abandoned, UNAVAILABLE names the peer.
  // Again: the same.
  absl::Status Finish(absl::Duration limit);

 private:
  // Waits for the operation that was started last.
  bool Await(absl::Duration limit);
  // Waits for it without sleeping, not for long; false if it has not ended.
  bool Poll(bool& ok);

  const std::string peer_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;  // one operation at a time
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  bool started_ = false;
  bool timed_out_ = false;
  bool abandoned_ = false;
  bool finished_ = false;
  absl::Status status_;  // once finished
};

}  // namespace winnow
