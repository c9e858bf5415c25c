#include "services/common/store_wire.h"

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Adds to `count` how often the field at the end of `path` occurs, looking at
// no more of the message than that takes.  False: not a message.
bool CountFields(CodedInputStream& input, std::span<const int> path,
                 size_t& count) {
  while (const uint32_t tag = input.ReadTag()) {
    const bool on_path =
        WireFormatLite::GetTagFieldNumber(tag) == path.front() &&
        WireFormatLite::GetTagWireType(tag) ==
            WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (!on_path || path.size() == 1) {
      count += on_path ? 1 : 0;
      if (!WireFormatLite::SkipField(&input, tag)) {
        return false;
      }
      continue;
    }
    uint32_t bytes = 0;
    if (!input.ReadVarint32(&bytes) ||
        bytes > static_cast<uint32_t>(kMaxStoreMessageBytes)) {
      return false;
    }
    const CodedInputStream::Limit limit =
        input.PushLimit(static_cast<int>(bytes));
    if (!CountFields(input, path.subspan(1), count)) {
      return false;
    }
    input.PopLimit(limit);
  }
  return true;
}

absl::Status TooMany(size_t count, size_t limit) {
  return absl::InvalidArgumentError(absl::StrCat(
      count, " segments in one request; at most ", limit, " are allowed"));
}

}  // namespace

// The enumerations have the same order on purpose; a test compares the names.
v1::MissReason ToWire(MissReason reason) {
  return static_cast<v1::MissReason>(reason);
}

MissReason FromWire(v1::MissReason wire) {
  return v1::MissReason_IsValid(wire) ? static_cast<MissReason>(wire)
                                      : MissReason::kUnreachable;
}

void ToWire(const SegmentSpec& spec, v1::SegmentSpec* wire) {
  wire->set_key(spec.key.bytes.data(), spec.key.bytes.size());
  wire->set_kind(ToWire(spec.kind));
  wire->set_rank(spec.rank);
  wire->set_size_bytes(spec.bytes);
}

absl::StatusOr<SegmentSpec> FromWire(const v1::SegmentSpec& wire) {
  SegmentSpec spec;
  WINNOW_ASSIGN_OR_RETURN(spec.key, SegmentKeyFromWire(wire.key()));
  WINNOW_ASSIGN_OR_RETURN(spec.kind, FromWire(wire.kind()));
  spec.rank = wire.rank();
  spec.bytes = wire.size_bytes();
  return spec;
}

void ToWire(const StoreStats& stats, v1::GetStatsResponse* wire) {
  wire->set_capacity_bytes(stats.capacity_bytes);
  wire->set_used_bytes(stats.used_bytes);
  wire->set_reserved_bytes(stats.reserved_bytes);
  wire->set_segments(stats.segments);
  wire->set_leases(stats.leases);
  wire->set_writes_in_flight(stats.writes_in_flight);
  wire->set_written_bytes(stats.written_bytes);
  wire->set_read_bytes(stats.read_bytes);
  wire->set_hits(stats.hits);
  wire->set_misses(stats.misses);
  wire->set_evictions(stats.evictions);
  wire->set_duplicate_writes(stats.duplicate_writes);
  wire->set_integrity_failures(stats.integrity_failures);
}

StoreStats FromWire(const v1::GetStatsResponse& wire) {
  return {.capacity_bytes = wire.capacity_bytes(),
          .used_bytes = wire.used_bytes(),
          .reserved_bytes = wire.reserved_bytes(),
          .segments = wire.segments(),
          .leases = wire.leases(),
          .writes_in_flight = wire.writes_in_flight(),
          .written_bytes = wire.written_bytes(),
          .read_bytes = wire.read_bytes(),
          .hits = wire.hits(),
          .misses = wire.misses(),
          .evictions = wire.evictions(),
          .duplicate_writes = wire.duplicate_writes(),
          .integrity_failures = wire.integrity_failures()};
}

void ToWire(std::span<const SegmentKey> keys, WireKeys* wire) {
  wire->Reserve(static_cast<int>(keys.size()));
  for (const SegmentKey& key : keys) {
    wire->Add()->assign(reinterpret_cast<const char*>(key.bytes.data()),
                        key.bytes.size());
  }
}

absl::StatusOr<std::vector<SegmentKey>> FromWire(const WireKeys& wire,
                                                 size_t max_keys) {
  const auto count = static_cast<size_t>(wire.size());
  if (count > max_keys) {
    return TooMany(count, max_keys);
  }
  std::vector<SegmentKey> keys;
  keys.reserve(count);
  for (const std::string& bytes : wire) {
    WINNOW_ASSIGN_OR_RETURN(const SegmentKey key, SegmentKeyFromWire(bytes));
    keys.push_back(key);
  }
  return keys;
}

grpc::ByteBuffer EncodeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

absl::Status ParseMessage(grpc::ByteBuffer& buffer, std::span<const int> path,
                          size_t max_count,
                          google::protobuf::MessageLite& message) {
  message.Clear();
  if (!buffer.Valid() || buffer.Length() == 0) {
    return absl::OkStatus();
  }
  if (buffer.Length() > static_cast<size_t>(kMaxStoreMessageBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of ", buffer.Length(), " bytes; at most ",
                     kMaxStoreMessageBytes, " are allowed"));
  }
  size_t count = 0;
  {
    grpc::ProtoBufferReader bytes(&buffer);
    CodedInputStream input(&bytes);
    if (!CountFields(input, path, count)) {
      return absl::InvalidArgumentError("a message cannot be parsed");
    }
  }
  if (count > max_count) {
    return TooMany(count, max_count);
  }
  grpc::ProtoBufferReader bytes(&buffer);
  if (!message.ParseFromZeroCopyStream(&bytes)) {
    return absl::InvalidArgumentError("a message cannot be parsed");
  }
  return absl::OkStatus();
}

}  // namespace winnow
