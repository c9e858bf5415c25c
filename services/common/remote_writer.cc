#include "services/common/remote_writer.h"

#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cache_store/format/miss_reason.h"
#include "cache_store/format/segment.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/call_scope.h"
#include "services/common/frame_codec.h"
#include "services/common/retry_hint.h"
#include "services/common/store_wire.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

// WriteResponse.reserved.present is packed: bounded by its message.
constexpr std::array<int, 1> kNoPath = {0};

}  // namespace

RemoteWriter::RemoteWriter(RemoteStore& store, std::vector<SegmentSpec> specs)
    : store_(store),
      specs_(std::move(specs)),
      slots_(specs_.size()),
      segments_(store.slabs_),
      stream_(store.channel_, "/winnow.v1.CacheStoreService/Write", store.peer_,
              store.options_.write_timeout) {
  MutexLock lock(store_.mutex_);
  store_.writers_.insert(this);
  store_.changed_.NotifyAll();
}

RemoteWriter::~RemoteWriter() {
  {
    MutexLock lock(store_.mutex_);
    store_.writers_.erase(this);
  }
  const Call never_cancelled;  // the store is to confirm that it dropped it
  const CallScope scope(never_cancelled);
  MutexLock lock(mutex_);
  const absl::Duration limit = store_.options_.abandon_timeout;
  if (open_ && stream_.CloseSending(limit)) {
    stream_.Finish(limit).IgnoreError();  // CANCELLED: the store dropped it
  }
}

absl::Status RemoteWriter::Begin(absl::Duration lease_ttl) {
  v1::WriteRequest request;
  for (const SegmentSpec& spec : specs_) {
    ToWire(spec, request.mutable_begin()->add_segments());
  }
  ToWire(lease_ttl, request.mutable_begin()->mutable_lease_ttl());
  const absl::Duration limit = store_.options_.timeout;
  grpc::ByteBuffer reply;
  MutexLock lock(mutex_);
  open_ = stream_.Start(limit);
  if (!open_ || !Send(EncodeMessage(request)) ||
      !stream_.Receive(reply, limit)) {
    return Broken();
  }
  v1::WriteResponse response;
  WINNOW_RETURN_IF_ERROR(ParseMessage(reply, kNoPath, 0, response));
  const auto& present = response.reserved().present();
  if (static_cast<size_t>(present.size()) != specs_.size()) {
    return absl::InternalError(
        absl::StrCat(store_.peer_, " reserved another number of segments"));
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].state = present.Get(static_cast<int>(i)) ? SlotState::kPresent
                                                       : SlotState::kReserved;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<std::byte>> RemoteWriter::Allocate(size_t index) {
  WINNOW_RETURN_IF_ERROR(CheckOpen(index));
  Slot& slot = slots_[index];
  if (slot.state == SlotState::kPresent) {
    return std::span<std::byte>();
  }
  if (slot.state != SlotState::kReserved) {
    return absl::FailedPreconditionError(
        absl::StrCat("segment ", index, " was allocated before"));
  }
  slot.memory = segments_.Allocate(specs_[index].bytes);
  if (slot.memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no memory for a segment of ", specs_[index].bytes, " bytes"));
  }
  slot.state = SlotState::kAllocated;
  return std::span(slot.memory.get(), specs_[index].bytes);
}

absl::Status RemoteWriter::Seal(size_t index) {
  WINNOW_RETURN_IF_ERROR(CheckOpen(index));
  Slot& slot = slots_[index];
  if (slot.state != SlotState::kAllocated) {
    return absl::FailedPreconditionError(absl::StrCat(
        "segment ", index, " is not allocated, or sealed already"));
  }
  const SegmentSpec& spec = specs_[index];
  const MissReason reason =
      VerifySegment(spec.key, spec.kind, {slot.memory.get(), spec.bytes});
  if (reason != MissReason::kNone) {
    ended_ = true;
    ++store_.integrity_failures_;
    return absl::DataLossError(absl::StrCat(
        "segment ", index, " (", spec.key.ToHex(), ") fails its check: ",
        Absl(MissReasonName(reason)), "; write the context again"));
  }
  busy_ = true;
  const absl::Status sent = SendSegment(index);
  busy_ = false;
  ended_ = !sent.ok();
  slot = {.state = SlotState::kSealed, .memory = nullptr};
  return sent;
}

absl::Status RemoteWriter::SendSegment(size_t index) {
  const std::shared_ptr<std::byte[]>& memory = slots_[index].memory;
  const size_t size = specs_[index].bytes;
  MutexLock lock(mutex_);
  for (size_t offset = 0; offset < size; offset += kMaxFrameBytes) {
    const std::span<const std::byte> content(
        memory.get() + offset, std::min(kMaxFrameBytes, size - offset));
    last_sent_ = absl::Now();
    open_ = open_ && stream_.SendSoon(EncodeFrame(static_cast<uint32_t>(index),
                                                  offset, content, memory),
                                      store_.options_.timeout);
    if (!open_) {
      return NotTaken();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Lease> RemoteWriter::Commit() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(CheckOpen(i));
    if (slots_[i].state != SlotState::kSealed &&
        slots_[i].state != SlotState::kPresent) {
      return absl::FailedPreconditionError(
          absl::StrCat("segment ", i, " is not sealed"));
    }
  }
  ended_ = true;
  v1::WriteRequest request;
  request.mutable_commit();
  MutexLock lock(mutex_);
  if (!Send(EncodeMessage(request))) {
    return NotTaken();
  }
  return ReceiveLease();
}

absl::StatusOr<Lease> RemoteWriter::ReceiveLease() {
  grpc::ByteBuffer reply;
  if (!stream_.Receive(reply, store_.options_.timeout)) {
    return NotTaken();
  }
  v1::WriteResponse response;
  WINNOW_RETURN_IF_ERROR(ParseMessage(reply, kNoPath, 0, response));
  const Lease lease = FromWire(response.committed().lease());
  if (lease.id == 0) {
    return absl::InternalError(
        absl::StrCat(store_.peer_, " committed a write without a lease"));
  }
  open_ = false;
  // The lease is ours, however the stream ends.
  stream_.Finish(store_.options_.timeout).IgnoreError();
  return lease;
}

absl::Status RemoteWriter::CheckOpen(size_t index) const {
  if (ended_) {
    return absl::FailedPreconditionError(
        "the write has ended; begin another one");
  }
  if (index >= specs_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segment ", index, " of a write of ", specs_.size(), " segments"));
  }
  return absl::OkStatus();
}

bool RemoteWriter::Send(const grpc::ByteBuffer& message) {
  last_sent_ = absl::Now();
  open_ = open_ && stream_.Send(message, store_.options_.timeout);
  return open_;
}

absl::Status RemoteWriter::Broken() {
  open_ = false;
  absl::Status status = stream_.Finish(store_.options_.timeout);
  return status.ok() ? absl::InternalError(absl::StrCat(
                           store_.peer_, " ended a write before its commit"))
                     : status;
}

absl::Status RemoteWriter::NotTaken() {
  absl::Status status = Broken();
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      if (RetryHint(status).has_value()) {
        return status;  // the store's own, of its leases
      }
      [[fallthrough]];  // gRPC's, of the size of a message
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kDataLoss:
      return absl::AbortedError(
          absl::StrCat(store_.peer_, " did not get what was sent (",
                       status.message(), "); prefill again"));
    default:
      return status;
  }
}

void RemoteWriter::KeepAlive() {
  if (busy_) {
    return;
  }
  MutexLock lock(mutex_);
  if (open_ && absl::Now() - last_sent_ >= store_.options_.keep_alive / 2) {
    Send(grpc::ByteBuffer(nullptr, 0));
  }
}

}  // namespace winnow
