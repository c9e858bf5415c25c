#include "services/common/remote_store_read.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "cache_store/format/segment.h"
#include "gpu/base/status.h"
#include "services/common/store_wire.h"

namespace winnow {
namespace {

// A ReadResponse has no repeated field.
constexpr std::array<int, 1> kNoPath = {0};

absl::Status OutOfOrder(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the store sent ", what));
}

// A reader that knows the shape asks for the kind; here it may be any.
MissReason VerifyAnyKind(const SegmentKey& key,
                         std::span<const std::byte> segment) {
  MissReason miss = MissReason::kIdentity;
  for (const SegmentKind kind :
       {SegmentKind::kRetrieval, SegmentKind::kWindow, SegmentKind::kAnchor,
        SegmentKind::kTail, SegmentKind::kTokens}) {
    if (miss == MissReason::kIdentity) {  // refused before its checksum
      miss = VerifySegment(key, kind, segment);
    }
  }
  return miss;
}

grpc::ByteBuffer EncodeRequest(LeaseId lease,
                               std::span<const SegmentKey> keys) {
  v1::ReadRequest request;
  request.set_lease_id(lease);
  ToWire(keys, request.mutable_keys());
  return EncodeMessage(request);
}

}  // namespace

RemoteStoreRead::RemoteStoreRead(std::span<const SegmentKey> keys,
                                 uint64_t max_bytes,
                                 std::shared_ptr<SlabPool> pool)
    : keys_(keys),
      max_bytes_(max_bytes),
      segments_(std::move(pool)),
      results_(keys.size()) {}

absl::Status RemoteStoreRead::Run(RemoteStoreStream& stream, LeaseId lease,
                                  absl::Duration limit) {
  if (stream.Start(limit) &&
      stream.SendLast(EncodeRequest(lease, keys_), limit)) {
    grpc::ByteBuffer message;
    while (stream.Receive(message, limit)) {
      const absl::Status taken = Take(message);
      message.Clear();
      if (!taken.ok()) {
        stream.Cancel();
        stream.Finish(limit).IgnoreError();  // `taken` says more
        return MissTheRest(absl::IsInvalidArgument(taken)
                               ? absl::DataLossError(taken.message())
                               : taken);
      }
    }
  }
  absl::Status status = stream.Finish(limit);
  if (stream.abandoned() || (status.ok() && complete())) {
    return status;
  }
  return MissTheRest(status.ok() ? absl::DataLossError("the stream ended early")
                                 : status);
}

absl::Status RemoteStoreRead::MissTheRest(const absl::Status& status) {
  if (absl::IsDataLoss(status) && !complete()) {
    ++integrity_failures_;
    results_[next_++] = {.miss = MissReason::kCorrupt, .view = {}};
  }
  MissReason reason = MissReason::kUnreachable;
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      reason = MissReason::kTimeout;
      break;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      break;
    default:
      return status;
  }
  for (size_t i = next_; i < results_.size(); ++i) {
    results_[i] = {.miss = reason, .view = {}};
  }
  return absl::OkStatus();
}

absl::Status RemoteStoreRead::Take(grpc::ByteBuffer& message) {
  StreamMessage opened(message);
  WINNOW_RETURN_IF_ERROR(opened.Open());
  if (opened.is_frame()) {
    return TakeFrame(opened);
  }
  v1::ReadResponse response;
  WINNOW_RETURN_IF_ERROR(ParseMessage(message, kNoPath, 0, response));
  switch (response.message_case()) {
    case v1::ReadResponse::kSegment:
      return TakeSegment(response.segment());
    case v1::ReadResponse::kFrame:
      return OutOfOrder("a frame that is not alone in its message");
    case v1::ReadResponse::MESSAGE_NOT_SET:
      break;
  }
  return absl::OkStatus();  // of a later version
}

absl::Status RemoteStoreRead::TakeSegment(const v1::ReadSegment& segment) {
  if (memory_ != nullptr || complete() || segment.segment_index() != next_) {
    return OutOfOrder(absl::StrCat("segment ", segment.segment_index(),
                                   " where segment ", next_, " must follow"));
  }
  const MissReason miss = FromWire(segment.miss());
  if (miss != MissReason::kNone) {
    results_[next_++] = {.miss = miss, .view = {}};
    return absl::OkStatus();
  }
  const uint64_t bytes = segment.size_bytes();
  if (bytes < kSegmentHeaderBytes || bytes > kMaxSegmentBytes) {
    return OutOfOrder(absl::StrCat("a segment of ", bytes, " bytes"));
  }
  if (bytes > max_bytes_ - bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("segments of more than ", max_bytes_,
                     " bytes in one read; read fewer at a time"));
  }
  memory_ = segments_.Allocate(bytes);
  if (memory_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no memory for a segment of ", bytes, " bytes; read fewer at a time"));
  }
  bytes_ += bytes;
  size_ = bytes;
  received_ = 0;
  damaged_ = false;
  return absl::OkStatus();
}

absl::Status RemoteStoreRead::TakeFrame(StreamMessage& message) {
  const FrameHead& frame = message.frame();
  if (memory_ == nullptr || frame.segment_index != next_ ||
      frame.offset != received_ || frame.content_bytes > size_ - received_) {
    return OutOfOrder(absl::StrCat(frame.content_bytes, " bytes of segment ",
                                   frame.segment_index, " at ", frame.offset,
                                   " where byte ", received_, " of segment ",
                                   next_, " must follow"));
  }
  absl::Status copied =
      message.CopyContent({memory_.get() + received_, frame.content_bytes});
  if (absl::IsDataLoss(copied)) {
    damaged_ = true;
  } else if (!copied.ok()) {
    return copied;
  }
  received_ += frame.content_bytes;
  if (received_ == size_) {
    CloseSegment();
  }
  return absl::OkStatus();
}

void RemoteStoreRead::CloseSegment() {
  const std::span<const std::byte> bytes(memory_.get(), size_);
  const MissReason miss =
      damaged_ ? MissReason::kCorrupt : VerifyAnyKind(keys_[next_], bytes);
  if (miss == MissReason::kNone) {
    results_[next_].view = {.bytes = bytes, .owner = memory_};
  } else {
    ++integrity_failures_;
  }
  results_[next_].miss = miss;
  memory_ = nullptr;
  ++next_;
}

}  // namespace winnow
