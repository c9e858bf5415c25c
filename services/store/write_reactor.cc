#include "services/store/write_reactor.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace winnow {

WriteReactor::WriteReactor(const StoreStream& stream,
                           const StoreServiceOptions& options,
                           StoreStreamCounters& counters)
    : frame_(stream.frame),
      context_(stream.context),
      options_(options),
      counters_(counters),
      scope_(stream.frame.Begin(stream.context, "Write")),
      session_(std::in_place, stream.store, options.max_keys) {
  if (scope_.admitted().ok()) {
    Listen();
  } else {
    End(scope_.admitted());
  }
}

void WriteReactor::Listen() {
  const absl::Duration at =
      options_.clock->Monotonic() + options_.write_idle_timeout;
  guard_ = frame_.watchdog().Watch(at, [this] {
    CancelOverdue(context_, "the writer sent nothing for too long");
  });
  StartRead(&request_);
}

void WriteReactor::OnReadDone(bool ok) {
  guard_.Reset();
  if (!ok) {
    if (guard_.fired()) {
      CountRefusal(FrameRefusal::kTimeout);
    }
    End(guard_.fired()
            ? absl::DeadlineExceededError(absl::StrCat(
                  "the writer sent nothing for ",
                  absl::FormatDuration(options_.write_idle_timeout),
                  "; send empty messages while there is nothing to write"))
            : absl::CancelledError(
                  "the stream ended before its commit; nothing was kept"));
    return;
  }
  absl::StatusOr<std::optional<grpc::ByteBuffer>> reply =
      session_->Take(request_);
  request_.Clear();
  if (!reply.ok()) {
    if (session_->frame_failures() > 0) {
      counters_.frame_failures += session_->frame_failures();
      CountRefusal(FrameRefusal::kChecksum);
    } else if (absl::IsInvalidArgument(reply.status())) {
      CountRefusal(FrameRefusal::kProtocol);
    }
    End(WithRetryHint(reply.status(), options_.retry_hint));
  } else if (reply->has_value()) {
    reply_ = **std::move(reply);
    guard_ = frame_.GuardWrite(context_);
    StartWrite(&reply_);
  } else {
    Listen();
  }
}

void WriteReactor::OnWriteDone(bool ok) {
  guard_.Reset();
  reply_.Clear();
  if (!ok) {
    End(RpcFrame::WriteStatus(ok, guard_.fired()));
  } else if (session_->committed()) {
    session_->Deliver();
    End(absl::OkStatus());
  } else {
    Listen();
  }
}

void WriteReactor::OnDone() { delete this; }

void WriteReactor::CountRefusal(FrameRefusal reason) {
  if (options_.metrics != nullptr) {
    options_.metrics->CountRefusal(reason);
  }
}

void WriteReactor::End(const absl::Status& status) {
  session_.reset();
  Finish(scope_.Finish(status));
}

}  // namespace winnow
