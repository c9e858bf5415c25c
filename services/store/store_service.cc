#include "services/store/store_service.h"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cache_store/format/segment.h"
#include "cache_store/store/too_large.h"
#include "gpu/base/status.h"
#include "services/common/frame_codec.h"
#include "services/common/retry_hint.h"
#include "services/common/wire.h"
#include "services/store/read_reactor.h"
#include "services/store/write_reactor.h"

namespace winnow {
namespace {

constexpr size_t kDefaultPage = 1000;
constexpr absl::Duration kLongestClose = absl::Seconds(5);

uint64_t RandomIncarnation() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

StoreService::StoreService(KvStore& store, RpcFrame& frame,
                           const StoreServiceOptions& options)
    : store_(store),
      frame_(frame),
      options_(options),
      incarnation_(RandomIncarnation()),
      counters_(std::make_shared<StoreStreamCounters>()) {}

StoreService::~StoreService() {
  const absl::Time until = absl::Now() + kLongestClose;
  while (counters_->open_views > 0 && absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(1));
  }
}

grpc::Status StoreService::GetCapabilities(
    grpc::ServerContext* context, const v1::GetCapabilitiesRequest* /*request*/,
    v1::GetCapabilitiesResponse* response) {
  const auto body = [&](const Call&) {
    response->set_segment_version(kSegmentVersion);
    response->set_max_segment_bytes(kMaxSegmentBytes);
    response->set_max_frame_bytes(kMaxFrameBytes);
    response->set_max_keys(options_.max_keys);
    ToWire(options_.max_lease_ttl, response->mutable_max_lease_ttl());
    response->set_incarnation(incarnation_);
    return absl::OkStatus();
  };
  return frame_.Run(*context, "GetCapabilities", body, RpcLoad::kShort);
}

grpc::Status StoreService::Probe(grpc::ServerContext* context,
                                 const v1::ProbeRequest* request,
                                 v1::ProbeResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(const std::vector<SegmentKey> keys,
                            FromWire(request->keys(), options_.max_keys));
    WINNOW_ASSIGN_OR_RETURN(const ProbeResult probed, store_.Probe(keys));
    for (const MissReason reason : probed.segments) {
      response->add_segments(ToWire(reason));
    }
    return absl::OkStatus();
  };
  return frame_.Run(*context, "Probe", body, RpcLoad::kShort);
}

grpc::Status StoreService::Acquire(grpc::ServerContext* context,
                                   const v1::AcquireRequest* request,
                                   v1::AcquireResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(const std::vector<SegmentKey> keys,
                            FromWire(request->keys(), options_.max_keys));
    absl::StatusOr<AcquireResult> acquired =
        store_.Acquire(keys, FromWire(request->requested_ttl()));
    if (!acquired.ok()) {
      return WithRetryHint(acquired.status(), options_.retry_hint);
    }
    for (const MissReason reason : acquired->misses) {
      response->add_misses(ToWire(reason));
    }
    if (acquired->complete()) {
      ToWire(acquired->lease, response->mutable_lease());
    }
    return absl::OkStatus();
  };
  return frame_.Run(*context, "Acquire", body, RpcLoad::kShort);
}

grpc::Status StoreService::Renew(grpc::ServerContext* context,
                                 const v1::RenewRequest* request,
                                 v1::RenewResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(
        const Lease lease,
        store_.Renew(request->lease_id(), FromWire(request->requested_ttl())));
    ToWire(lease, response->mutable_lease());
    return absl::OkStatus();
  };
  return frame_.Run(*context, "Renew", body, RpcLoad::kShort);
}

grpc::Status StoreService::Release(grpc::ServerContext* context,
                                   const v1::ReleaseRequest* request,
                                   v1::ReleaseResponse* /*response*/) {
  const auto body = [&](const Call&) {
    return store_.Release(request->lease_id());
  };
  return frame_.Run(*context, "Release", body, RpcLoad::kShort);
}

grpc::Status StoreService::Remove(grpc::ServerContext* context,
                                  const v1::RemoveRequest* request,
                                  v1::RemoveResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(const std::vector<SegmentKey> keys,
                            FromWire(request->keys(), options_.max_keys));
    WINNOW_ASSIGN_OR_RETURN(const size_t removed, store_.Remove(keys));
    response->set_removed(removed);
    return absl::OkStatus();
  };
  return frame_.Run(*context, "Remove", body, RpcLoad::kShort);
}

grpc::Status StoreService::List(grpc::ServerContext* context,
                                const v1::ListRequest* request,
                                v1::ListResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    if (request->page_size() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("page_size ", request->page_size(), " is negative"));
    }
    SegmentKey after;
    if (!request->page_token().empty()) {
      WINNOW_ASSIGN_OR_RETURN(after, SegmentKeyFromWire(request->page_token()));
    }
    const auto asked = static_cast<size_t>(request->page_size());
    const size_t page =
        std::min(asked == 0 ? kDefaultPage : asked, options_.max_page);
    WINNOW_ASSIGN_OR_RETURN(const std::vector<SegmentSpec> listed,
                            store_.List(after, page));
    for (const SegmentSpec& spec : listed) {
      ToWire(spec, response->add_segments());
    }
    if (listed.size() == page) {
      response->set_next_page_token(response->segments().rbegin()->key());
    }
    return absl::OkStatus();
  };
  return frame_.Run(*context, "List", body, RpcLoad::kShort);
}

grpc::Status StoreService::GetStats(grpc::ServerContext* context,
                                    const v1::GetStatsRequest* /*request*/,
                                    v1::GetStatsResponse* response) {
  const auto body = [&](const Call&) -> absl::Status {
    WINNOW_ASSIGN_OR_RETURN(StoreStats stats, store_.GetStats());
    stats.integrity_failures += frame_failures();
    ToWire(stats, response);
    return absl::OkStatus();
  };
  return frame_.Run(*context, "GetStats", body, RpcLoad::kShort);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
StoreService::Write(grpc::CallbackServerContext* context) {
  return new WriteReactor(
      {.store = store_, .frame = frame_, .context = *context}, options_,
      *counters_);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StoreService::Read(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return new ReadReactor(
      {.store = store_, .frame = frame_, .context = *context}, options_,
      counters_, *request);
}

absl::Status WithRetryHint(absl::Status status, absl::Duration after) {
  if (absl::IsResourceExhausted(status) && !IsTooLargeForStore(status) &&
      !RetryHint(status).has_value()) {
    SetRetryHint(status, after);
  }
  return status;
}

}  // namespace winnow
