#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <google/protobuf/message_lite.h>
#include <google/protobuf/repeated_ptr_field.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cache_store/format/miss_reason.h"
#include "cache_store/format/segment_key.h"
#include "cache_store/store/kv_store.h"
#include "winnow/v1/cache_store.pb.h"

namespace winnow {

// Between winnow.v1.CacheStoreService and KvStore.  What comes from the wire
// is checked; errors are INVALID_ARGUMENT and name the field.

// Keys of one request, and segments of one write.
inline constexpr size_t kMaxStoreKeys = size_t{1} << 16;
// A message of the store's RPCs: kMaxStoreKeys specs, or one frame.  Servers
// of the store take no longer ones.
inline constexpr int kMaxStoreMessageBytes = 4 << 20;

v1::MissReason ToWire(MissReason reason);
// A reason that this version does not know is kUnreachable: no bytes came.
MissReason FromWire(v1::MissReason wire);

void ToWire(const SegmentSpec& spec, v1::SegmentSpec* wire);
absl::StatusOr<SegmentSpec> FromWire(const v1::SegmentSpec& wire);

void ToWire(const StoreStats& stats, v1::GetStatsResponse* wire);
StoreStats FromWire(const v1::GetStatsResponse& wire);

using WireKeys = google::protobuf::RepeatedPtrField<std::string>;
void ToWire(std::span<const SegmentKey> keys, WireKeys* wire);
// At most `max_keys`.
absl::StatusOr<std::vector<SegmentKey>> FromWire(const WireKeys& wire,
                                                 size_t max_keys);

// A message in the bytes of a raw method.
grpc::ByteBuffer EncodeMessage(const google::protobuf::MessageLite& message);

// Parses what came from outside.  The repeated field that `path` leads to, by
// field numbers from the top, may have `max_count` members: they are counted
// before anything is allocated for them.
absl::Status ParseMessage(grpc::ByteBuffer& buffer, std::span<const int> path,
                          size_t max_count,
                          google::protobuf::MessageLite& message);

}  // namespace winnow
