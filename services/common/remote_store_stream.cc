#include "services/common/remote_store_stream.h"

#include <utility>

#include <grpcpp/support/status.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/common/client_call.h"

namespace winnow {

RemoteStoreStream::RemoteStoreStream(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
    std::string peer, absl::Duration deadline)
    : peer_(std::move(peer)) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  call_ = grpc::GenericStub(channel).PrepareCall(&context_, method, &queue_);
}

RemoteStoreStream::~RemoteStoreStream() {
  if (started_ && !finished_) {
    Cancel();
    Finish(absl::InfiniteDuration()).IgnoreError();  // at once, it is cancelled
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool RemoteStoreStream::Start(absl::Duration limit) {
  started_ = true;
  call_->StartCall(this);
  return Await(limit);
}

bool RemoteStoreStream::Send(const grpc::ByteBuffer& message,
                             absl::Duration limit) {
  call_->Write(message, this);
  return Await(limit);
}

bool RemoteStoreStream::SendLast(const grpc::ByteBuffer& message,
                                 absl::Duration limit) {
  call_->WriteLast(message, grpc::WriteOptions(), this);
  return Await(limit);
}

bool RemoteStoreStream::CloseSending(absl::Duration limit) {
  call_->WritesDone(this);
  return Await(limit);
}

bool RemoteStoreStream::Receive(grpc::ByteBuffer& message,
                                absl::Duration limit) {
  call_->Read(&message, this);
  return Await(limit);
}

absl::Status RemoteStoreStream::Finish(absl::Duration limit) {
  if (finished_) {
    return status_;
  }
  grpc::Status status;
  call_->Finish(&status, this);
  Await(limit);
  finished_ = true;
  status_ = timed_out_ ? absl::DeadlineExceededError(absl::StrCat(
                             peer_,
                             " did not answer in time; see that it is "
                             "not overloaded, or give it more time"))
                       : PeerStatus(status, context_, peer_);
  return status_;
}

bool RemoteStoreStream::Await(absl::Duration limit) {
  void* tag = nullptr;
  bool ok = false;
  const auto until = absl::ToChronoTime(absl::Now() + limit);
  if (queue_.AsyncNext(&tag, &ok, until) ==
      grpc::CompletionQueue::NextStatus::GOT_EVENT) {
    return ok;
  }
  timed_out_ = true;
  Cancel();
  queue_.Next(&tag, &ok);
  return false;
}

}  // namespace winnow
