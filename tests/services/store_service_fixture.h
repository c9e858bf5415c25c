#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/frame_codec.h"
#include "tests/contract/kv_store_fixture.h"
#include "tests/services/store_server.h"

namespace winnow {
inline constexpr size_t kSegmentBytes = size_t{5}
                                        << 19;  // two frames and a half

inline SegmentShape LargeShape() {
  SegmentShape shape = kTestShape;
  shape.num_heads = 640;
  return shape;
}

inline std::string KeyText(uint32_t number) {
  const SegmentKey key = TestKey(number);
  return {reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()};
}

// A sealed segment of the key that is called `number`.
inline std::string Segment(uint32_t number,
                           const SegmentShape& shape = LargeShape()) {
  const size_t bytes = shape.SegmentBytes();
  auto memory = std::make_unique<std::byte[]>(bytes + 64);
  void* start = memory.get();
  size_t room = bytes + 64;
  auto* const segment =
      static_cast<std::byte*>(std::align(64, bytes, start, room));
  for (size_t i = kSegmentHeaderBytes; i < bytes; ++i) {
    segment[i] = TestByte(TestKey(number), i);
  }
  SealSegment({.key = TestKey(number), .shape = shape}, {segment, bytes});
  return {reinterpret_cast<const char*>(segment), bytes};
}

inline v1::WriteRequest Begin(const std::vector<uint32_t>& numbers,
                              uint64_t bytes) {
  v1::WriteRequest request;
  for (const uint32_t number : numbers) {
    v1::SegmentSpec& spec = *request.mutable_begin()->add_segments();
    spec.set_key(KeyText(number));
    spec.set_kind(v1::SEGMENT_KIND_RETRIEVAL);
    spec.set_size_bytes(bytes);
  }
  request.mutable_begin()->mutable_lease_ttl()->set_seconds(10);
  return request;
}

inline v1::WriteRequest Frame(uint32_t index, const std::string& segment,
                              uint64_t offset, size_t bytes) {
  v1::WriteRequest request;
  v1::Frame& frame = *request.mutable_frame();
  frame.set_segment_index(index);
  frame.set_offset(offset);
  frame.set_content(segment.substr(offset, bytes));
  frame.set_checksum(
      FrameChecksum({reinterpret_cast<const std::byte*>(frame.content().data()),
                     frame.content().size()}));
  return request;
}

inline v1::WriteRequest Commit() {
  v1::WriteRequest request;
  request.mutable_commit();
  return request;
}

// A store service and a client of generated code alone.
class StoreServiceTest : public testing::Test {
 protected:
  StoreServiceTest() { Restart({}); }

  void Restart(StoreServerOptions options) {
    stub_.reset();
    server_.reset();
    options.store.capacity_bytes = 64 << 20;
    server_ = std::make_unique<StoreServer>(options);
    stub_ = v1::CacheStoreService::NewStub(grpc::CreateChannel(
        server_->address(), grpc::InsecureChannelCredentials()));
  }

  // Sends all of `messages` and returns how the stream ends.
  grpc::Status Write(const std::vector<v1::WriteRequest>& messages,
                     std::vector<v1::WriteResponse>* replies = nullptr) {
    grpc::ClientContext context;
    auto stream = stub_->Write(&context);
    for (const v1::WriteRequest& message : messages) {
      stream->Write(message);  // the end of the stream is seen below
    }
    stream->WritesDone();
    v1::WriteResponse reply;
    while (stream->Read(&reply)) {
      if (replies != nullptr) {
        replies->push_back(reply);
      }
    }
    return stream->Finish();
  }

  // What `messages` must be refused with; afterwards nothing is left.
  void ExpectRefused(const std::vector<v1::WriteRequest>& messages,
                     grpc::StatusCode code, const std::string& part) {
    const grpc::Status status = Write(messages);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), testing::HasSubstr(part));
    ExpectNothingLeft();
  }

  void ExpectNothingLeft() {
    const StoreStats stats = server_->store().GetStats().value();
    EXPECT_EQ(stats.reserved_bytes, 0);
    EXPECT_EQ(stats.writes_in_flight, 0);
    EXPECT_EQ(stats.used_bytes, 0);
    EXPECT_EQ(stats.leases, 0);
  }

  // Waits for what ends on the server's side alone.
  void AwaitNothingReserved() {
    for (int i = 0; i < 500; ++i) {
      if (server_->store().GetStats().value().writes_in_flight == 0) {
        break;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    ExpectNothingLeft();
  }

  std::unique_ptr<StoreServer> server_;
  std::unique_ptr<v1::CacheStoreService::Stub> stub_;
};

}  // namespace winnow
