#include "services/store/write_session.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/store_wire.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

// WriteRequest.begin.segments.
constexpr std::array<int, 2> kSegmentsPath = {
    v1::WriteRequest::kBeginFieldNumber, v1::WriteBegin::kSegmentsFieldNumber};

absl::Status OutOfOrder(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, "; see Write in cache_store.proto"));
}

}  // namespace

WriteSession::~WriteSession() {
  if (lease_.id != 0) {
    store_.Release(lease_.id).IgnoreError();  // nobody knows of it
  }
}

absl::StatusOr<std::optional<grpc::ByteBuffer>> WriteSession::Take(
    grpc::ByteBuffer& message) {
  if (committed()) {
    return OutOfOrder("a message after the commit");
  }
  StreamMessage opened(message);
  WINNOW_RETURN_IF_ERROR(opened.Open());
  if (opened.is_empty()) {
    return std::nullopt;  // the writer is still there
  }
  if (opened.is_frame()) {
    WINNOW_RETURN_IF_ERROR(TakeFrame(opened));
    return std::nullopt;
  }
  v1::WriteRequest request;
  WINNOW_RETURN_IF_ERROR(
      ParseMessage(message, kSegmentsPath, max_segments_, request));
  switch (request.message_case()) {
    case v1::WriteRequest::kBegin:
      return Begin(request.begin());
    case v1::WriteRequest::kCommit:
      return Commit();
    case v1::WriteRequest::kFrame:
      return OutOfOrder("a frame that is not alone in its message");
    case v1::WriteRequest::MESSAGE_NOT_SET:
      break;
  }
  return std::nullopt;  // of a later version
}

absl::StatusOr<grpc::ByteBuffer> WriteSession::Begin(
    const v1::WriteBegin& begin) {
  if (writer_ != nullptr) {
    return OutOfOrder("a second `begin`");
  }
  std::vector<SegmentSpec> specs;
  specs.reserve(static_cast<size_t>(begin.segments_size()));
  for (const v1::SegmentSpec& wire : begin.segments()) {
    WINNOW_ASSIGN_OR_RETURN(specs.emplace_back(), FromWire(wire));
  }
  const size_t count = specs.size();
  WINNOW_ASSIGN_OR_RETURN(
      writer_,
      store_.BeginWrite(std::move(specs), FromWire(begin.lease_ttl())));
  v1::WriteResponse response;
  memory_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    WINNOW_ASSIGN_OR_RETURN(memory_[i], writer_->Allocate(i));
    response.mutable_reserved()->add_present(memory_[i].empty());
  }
  return EncodeMessage(response);
}

absl::Status WriteSession::TakeFrame(StreamMessage& message) {
  WINNOW_ASSIGN_OR_RETURN(const std::span<std::byte> place,
                          PlaceOf(message.frame()));
  absl::Status copied = message.CopyContent(place);
  if (!copied.ok()) {
    frame_failures_ += absl::IsDataLoss(copied) ? 1 : 0;
    return copied;
  }
  received_ += place.size();
  if (received_ == memory_[*current_].size()) {
    memory_[*current_] = {};
    WINNOW_RETURN_IF_ERROR(writer_->Seal(*std::exchange(current_, {})));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<std::byte>> WriteSession::PlaceOf(
    const FrameHead& frame) {
  if (frame.segment_index >= memory_.size()) {
    return OutOfOrder(absl::StrCat("a frame of segment ", frame.segment_index,
                                   " of a write of ", memory_.size()));
  }
  const std::span<std::byte> memory = memory_[frame.segment_index];
  if (memory.empty()) {
    return OutOfOrder(absl::StrCat("a frame of segment ", frame.segment_index,
                                   ", which is present or was sent already"));
  }
  if (!current_.has_value()) {
    current_ = frame.segment_index;
    received_ = 0;
  }
  if (frame.segment_index != *current_ || frame.offset != received_) {
    return OutOfOrder(absl::StrCat(
        "a frame of segment ", frame.segment_index, " at ", frame.offset,
        " where byte ", received_, " of segment ", *current_, " must follow"));
  }
  if (frame.content_bytes > memory.size() - received_) {
    return OutOfOrder(absl::StrCat("a frame of ", frame.content_bytes,
                                   " bytes; only ", memory.size() - received_,
                                   " are left in segment ", *current_));
  }
  return memory.subspan(received_, frame.content_bytes);
}

absl::StatusOr<grpc::ByteBuffer> WriteSession::Commit() {
  if (writer_ == nullptr) {
    return OutOfOrder("a `commit` before `begin`");
  }
  WINNOW_ASSIGN_OR_RETURN(lease_, writer_->Commit());
  writer_.reset();
  v1::WriteResponse response;
  ToWire(lease_, response.mutable_committed()->mutable_lease());
  return EncodeMessage(response);
}

}  // namespace winnow
