#include "services/common/remote_store.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "gpu/base/status.h"
#include "services/common/call_scope.h"
#include "services/common/client_call.h"
#include "services/common/remote_store_read.h"
#include "services/common/remote_writer.h"
#include "services/common/store_wire.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

absl::Status CheckCount(size_t count) {
  if (count > kMaxStoreKeys) {
    return absl::InvalidArgumentError(absl::StrCat(
        count, " segments at once; at most ", kMaxStoreKeys, " are allowed"));
  }
  return absl::OkStatus();
}

// A store that breaks its own contract.
absl::Status WrongAnswer(const std::string& peer, absl::string_view what) {
  return absl::InternalError(absl::StrCat(peer, " answered with ", what,
                                          "; see that it is of this version"));
}

}  // namespace

RemoteStore::RemoteStore(const std::string& address,
                         const RemoteStoreOptions& options)
    : options_(options),
      peer_(absl::StrCat("the cache store at ", address)),
      channel_(MakeChannel(address, options.channel)),
      stub_(v1::CacheStoreService::NewStub(channel_)),
      thread_([this] { KeepWritersAlive(); }) {}

RemoteStore::~RemoteStore() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

absl::Status RemoteStore::Call(
    absl::FunctionRef<grpc::Status(grpc::ClientContext&)> call) {
  grpc::ClientContext context;
  const auto guard = calls_.Start(context, CallScope::Current());
  context.set_deadline(std::min(
      context.deadline(), absl::ToChronoTime(absl::Now() + options_.timeout)));
  return PeerStatus(call(context), context, peer_);
}

absl::StatusOr<std::unique_ptr<ContextWriter>> RemoteStore::BeginWrite(
    std::vector<SegmentSpec> segments, absl::Duration lease_ttl) {
  WINNOW_RETURN_IF_ERROR(CheckCount(segments.size()));
  auto writer = std::make_unique<RemoteWriter>(*this, std::move(segments));
  WINNOW_RETURN_IF_ERROR(writer->Begin(lease_ttl));
  return writer;
}

absl::StatusOr<ProbeResult> RemoteStore::Probe(
    std::span<const SegmentKey> keys) {
  WINNOW_RETURN_IF_ERROR(CheckCount(keys.size()));
  v1::ProbeRequest request;
  ToWire(keys, request.mutable_keys());
  v1::ProbeResponse response;
  WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
    return stub_->Probe(&context, request, &response);
  }));
  if (static_cast<size_t>(response.segments_size()) != keys.size()) {
    return WrongAnswer(peer_, "another number of segments");
  }
  ProbeResult result;
  for (const int reason : response.segments()) {
    result.segments.push_back(FromWire(static_cast<v1::MissReason>(reason)));
  }
  return result;
}

absl::StatusOr<AcquireResult> RemoteStore::Acquire(
    std::span<const SegmentKey> keys, absl::Duration ttl) {
  WINNOW_RETURN_IF_ERROR(CheckCount(keys.size()));
  v1::AcquireRequest request;
  ToWire(keys, request.mutable_keys());
  ToWire(ttl, request.mutable_requested_ttl());
  v1::AcquireResponse response;
  WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
    return stub_->Acquire(&context, request, &response);
  }));
  if (static_cast<size_t>(response.misses_size()) != keys.size()) {
    return WrongAnswer(peer_, "another number of segments");
  }
  AcquireResult result;
  for (const int reason : response.misses()) {
    result.misses.push_back(FromWire(static_cast<v1::MissReason>(reason)));
  }
  result.lease = FromWire(response.lease());
  const bool all_hit = std::ranges::all_of(
      result.misses, [](MissReason miss) { return miss == MissReason::kNone; });
  if (result.complete() != all_hit) {
    return WrongAnswer(peer_, "a lease that contradicts its misses");
  }
  return result;
}

absl::StatusOr<ReadResult> RemoteStore::Read(LeaseId lease,
                                             const SegmentKey& key) {
  WINNOW_ASSIGN_OR_RETURN(std::vector<ReadResult> read,
                          ReadMany(lease, {&key, 1}));
  return std::move(read.front());
}

absl::StatusOr<std::vector<ReadResult>> RemoteStore::ReadMany(
    LeaseId lease, std::span<const SegmentKey> keys) {
  WINNOW_RETURN_IF_ERROR(CheckCount(keys.size()));
  RemoteStoreStream stream(channel_, "/winnow.v1.CacheStoreService/Read", peer_,
                           options_.transfer_timeout);
  RemoteStoreRead read(keys, options_.max_read_bytes, slabs_);
  const absl::Status status = read.Run(stream, lease, options_.timeout);
  integrity_failures_ += read.integrity_failures();
  WINNOW_RETURN_IF_ERROR(status);
  return std::move(read).results();
}

absl::StatusOr<Lease> RemoteStore::Renew(LeaseId lease, absl::Duration ttl) {
  v1::RenewRequest request;
  request.set_lease_id(lease);
  ToWire(ttl, request.mutable_requested_ttl());
  v1::RenewResponse response;
  WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
    return stub_->Renew(&context, request, &response);
  }));
  return FromWire(response.lease());
}

absl::Status RemoteStore::Release(LeaseId lease) {
  v1::ReleaseRequest request;
  request.set_lease_id(lease);
  v1::ReleaseResponse response;
  // Not as a part of the thread's call, whose end it may be.
  const absl::Duration limit =
      CallScope::Cancelled() ? options_.abandon_timeout : options_.timeout;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
  return PeerStatus(stub_->Release(&context, request, &response), context,
                    peer_);
}

absl::StatusOr<size_t> RemoteStore::Remove(std::span<const SegmentKey> keys) {
  WINNOW_RETURN_IF_ERROR(CheckCount(keys.size()));
  v1::RemoveRequest request;
  ToWire(keys, request.mutable_keys());
  v1::RemoveResponse response;
  WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
    return stub_->Remove(&context, request, &response);
  }));
  return response.removed();
}

absl::StatusOr<std::vector<SegmentSpec>> RemoteStore::List(
    const SegmentKey& after, size_t limit) {
  std::vector<SegmentSpec> listed;
  SegmentKey last = after;
  while (listed.size() < limit) {
    v1::ListRequest request;
    request.set_page_size(static_cast<int>(std::min<size_t>(
        limit - listed.size(), std::numeric_limits<int>::max())));
    request.set_page_token(last.bytes.data(), last.bytes.size());
    v1::ListResponse response;
    WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
      return stub_->List(&context, request, &response);
    }));
    for (const v1::SegmentSpec& wire : response.segments()) {
      WINNOW_ASSIGN_OR_RETURN(const SegmentSpec spec, FromWire(wire));
      if (spec.key <= last || listed.size() == limit) {
        return WrongAnswer(peer_, "a list that is out of order or too long");
      }
      last = spec.key;
      listed.push_back(spec);
    }
    if (response.next_page_token().empty() || response.segments().empty()) {
      break;
    }
  }
  return listed;
}

absl::StatusOr<StoreStats> RemoteStore::GetStats() {
  v1::GetStatsResponse response;
  WINNOW_RETURN_IF_ERROR(Call([&](grpc::ClientContext& context) {
    return stub_->GetStats(&context, v1::GetStatsRequest(), &response);
  }));
  StoreStats stats = FromWire(response);
  stats.integrity_failures += integrity_failures_;
  return stats;
}

void RemoteStore::KeepWritersAlive() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    for (RemoteWriter* writer : writers_) {
      writer->KeepAlive();
    }
    if (writers_.empty()) {
      changed_.Wait(mutex_);
    } else {
      changed_.WaitFor(mutex_, options_.keep_alive);
    }
  }
}

}  // namespace winnow
