#include "services/store/read_reactor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gpu/base/status.h"
#include "services/common/frame_codec.h"
#include "services/common/store_wire.h"

namespace winnow {
namespace {

constexpr std::array<int, 1> kKeysPath = {v1::ReadRequest::kKeysFieldNumber};

// Counts a view until the last frame of it has gone.
SegmentView CountedView(SegmentView&& view,
                        const std::shared_ptr<StoreStreamCounters>& counters) {
  ++counters->open_views;
  const void* const bytes = view.owner.get();
  const auto drop = [owner = std::move(view.owner),
                     counters](const void*) mutable {
    owner.reset();
    --counters->open_views;
  };
  return {.bytes = view.bytes, .owner = {bytes, drop}};
}

}  // namespace

ReadReactor::ReadReactor(const StoreStream& stream,
                         const StoreServiceOptions& options,
                         std::shared_ptr<StoreStreamCounters> counters,
                         const grpc::ByteBuffer& request)
    : store_(stream.store),
      frame_(stream.frame),
      context_(stream.context),
      counters_(std::move(counters)),
      scope_(stream.frame.Begin(stream.context, "Read")) {
  const absl::Status opened = Open(options, request);
  if (opened.ok()) {
    Advance();
  } else {
    End(opened);
  }
}

absl::Status ReadReactor::Open(const StoreServiceOptions& options,
                               const grpc::ByteBuffer& request) {
  WINNOW_RETURN_IF_ERROR(scope_.admitted());
  grpc::ByteBuffer buffer(request);  // shares the bytes
  v1::ReadRequest parsed;
  WINNOW_RETURN_IF_ERROR(
      ParseMessage(buffer, kKeysPath, options.max_keys, parsed));
  WINNOW_ASSIGN_OR_RETURN(keys_, FromWire(parsed.keys(), options.max_keys));
  lease_ = parsed.lease_id();
  return absl::OkStatus();
}

void ReadReactor::Advance() {
  if (view_.owner != nullptr) {
    message_ = NextFrame();
  } else if (index_ < keys_.size()) {
    absl::StatusOr<grpc::ByteBuffer> segment = OpenSegment();
    if (!segment.ok()) {
      End(segment.status());
      return;
    }
    message_ = *std::move(segment);
  } else {
    End(absl::OkStatus());
    return;
  }
  guard_ = frame_.GuardWrite(context_);
  StartWrite(&message_, Options());
}

grpc::WriteOptions ReadReactor::Options() {
  // A message that goes out alone costs several switches of threads; gRPC
  // collects 2 MiB of those with the hint, while the next are made.  The first
  // takes the initial metadata with it, which the hint would hold back for
  // good; the last is out before the end, so that its guard sees it.
  const bool first = !std::exchange(begun_, true);
  grpc::WriteOptions options;
  return first || index_ == keys_.size() ? options : options.set_buffer_hint();
}

absl::StatusOr<grpc::ByteBuffer> ReadReactor::OpenSegment() {
  WINNOW_ASSIGN_OR_RETURN(ReadResult read, store_.Read(lease_, keys_[index_]));
  v1::ReadResponse response;
  v1::ReadSegment& segment = *response.mutable_segment();
  segment.set_segment_index(static_cast<uint32_t>(index_));
  segment.set_miss(ToWire(read.miss));
  if (read.miss == MissReason::kNone) {
    segment.set_size_bytes(read.view.bytes.size());
    view_ = CountedView(std::move(read.view), counters_);
    sent_ = 0;
  } else {
    ++index_;
  }
  return EncodeMessage(response);
}

grpc::ByteBuffer ReadReactor::NextFrame() {
  const std::span<const std::byte> content = view_.bytes.subspan(
      sent_, std::min(kMaxFrameBytes, view_.bytes.size() - sent_));
  grpc::ByteBuffer frame =
      EncodeFrame(static_cast<uint32_t>(index_), sent_, content, view_.owner);
  sent_ += content.size();
  if (sent_ == view_.bytes.size()) {
    view_ = {};
    ++index_;
  }
  return frame;
}

void ReadReactor::OnWriteDone(bool ok) {
  guard_.Reset();
  message_.Clear();  // lets go of the store's memory
  if (ok) {
    Advance();
  } else {
    End(RpcFrame::WriteStatus(ok, guard_.fired()));
  }
}

void ReadReactor::OnDone() { delete this; }

void ReadReactor::End(const absl::Status& status) {
  view_ = {};
  Finish(scope_.Finish(status));
}

}  // namespace winnow
