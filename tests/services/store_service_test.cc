// StoreService as a caller with nothing but generated code sees it.

#include "services/store/store_service.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/frame_codec.h"
#include "tests/services/store_service_fixture.h"

namespace winnow {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(StoreServiceTest, AWrittenSegmentIsReadBackInFrames) {
  const std::string segment = Segment(1);
  std::vector<v1::WriteRequest> messages = {Begin({1}, segment.size())};
  for (size_t at = 0; at < segment.size(); at += kMaxFrameBytes) {
    messages.push_back(Frame(0, segment, at, kMaxFrameBytes));
  }
  messages.push_back(Commit());
  std::vector<v1::WriteResponse> replies;
  ASSERT_TRUE(Write(messages, &replies).ok());
  ASSERT_EQ(replies.size(), 2);
  EXPECT_FALSE(replies[0].reserved().present(0));
  const v1::Lease& lease = replies[1].committed().lease();
  EXPECT_EQ(lease.ttl().seconds(), 10);

  v1::ReadRequest request;
  request.set_lease_id(lease.id());
  request.add_keys(KeyText(2));
  request.add_keys(KeyText(1));
  grpc::ClientContext context;
  auto stream = stub_->Read(&context, request);
  v1::ReadResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.segment().segment_index(), 0);
  EXPECT_EQ(response.segment().miss(), v1::MISS_REASON_ABSENT);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.segment().segment_index(), 1);
  EXPECT_EQ(response.segment().size_bytes(), segment.size());
  std::string read;
  while (stream->Read(&response)) {
    const std::string& content = response.frame().content();
    EXPECT_EQ(response.frame().offset(), read.size());
    EXPECT_LE(content.size(), kMaxFrameBytes);
    EXPECT_EQ(response.frame().checksum(),
              FrameChecksum({reinterpret_cast<const std::byte*>(content.data()),
                             content.size()}));
    read += content;
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(read, segment);
}

TEST_F(StoreServiceTest, SegmentsMayComeInAnyOrderAndFramesInAnySize) {
  const std::string first = Segment(1);
  const std::string second = Segment(2);
  std::vector<v1::WriteRequest> messages = {Begin({1, 2}, first.size())};
  size_t at = 0;
  for (size_t step = 1; at < second.size(); step += 50000) {
    messages.push_back(Frame(1, second, at, step));
    at += step;
  }
  for (at = 0; at < first.size(); at += kMaxFrameBytes) {
    messages.push_back(Frame(0, first, at, kMaxFrameBytes));
    messages.emplace_back();  // still there
  }
  messages.push_back(Commit());
  const grpc::Status status = Write(messages);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(server_->store().GetStats().value().segments, 2);
}

TEST_F(StoreServiceTest, MessagesOutOfOrderEndTheStream) {
  const std::string segment = Segment(1);
  const uint64_t bytes = segment.size();
  const v1::WriteRequest begin = Begin({1, 2}, bytes);
  const v1::WriteRequest first = Frame(0, segment, 0, kMaxFrameBytes);
  const auto code = StatusCode::INVALID_ARGUMENT;
  ExpectRefused({first}, code, "of a write of 0");
  ExpectRefused({Commit()}, code, "before `begin`");
  ExpectRefused({begin, begin}, code, "second `begin`");
  ExpectRefused({begin, first, first}, code, "must follow");
  ExpectRefused({begin, Frame(0, segment, 1, 100)}, code, "must follow");
  ExpectRefused({begin, first, Frame(0, segment, kMaxFrameBytes + 1, 100)},
                code, "must follow");
  ExpectRefused({begin, first, Frame(1, segment, 0, 100)}, code, "must follow");
  ExpectRefused({begin, Frame(2, segment, 0, 100)}, code, "segment 2");
  ExpectRefused({Begin({1}, 300), Frame(0, segment, 0, 301)}, code,
                "only 300 are left");
  ExpectRefused({begin, first, Commit()}, StatusCode::FAILED_PRECONDITION,
                "not sealed");
  ExpectRefused({begin, first}, StatusCode::CANCELLED, "before its commit");
}

TEST_F(StoreServiceTest, AWrongChecksumIsDataLossAndCounted) {
  const std::string segment = Segment(1);
  v1::WriteRequest frame = Frame(0, segment, 0, 1000);
  frame.mutable_frame()->set_checksum(frame.frame().checksum() + 1);
  ExpectRefused({Begin({1}, segment.size()), frame}, StatusCode::DATA_LOSS,
                "fails its checksum");
  EXPECT_EQ(server_->service().frame_failures(), 1);
  v1::GetStatsResponse stats;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetStats(&context, {}, &stats).ok());
  EXPECT_EQ(stats.integrity_failures(), 1);
}

TEST_F(StoreServiceTest, ASegmentThatFailsItsOwnCheckIsDataLoss) {
  std::string segment = Segment(1);
  segment.back() = static_cast<char>(segment.back() + 1);
  std::vector<v1::WriteRequest> messages = {Begin({1}, segment.size())};
  for (size_t at = 0; at < segment.size(); at += kMaxFrameBytes) {
    messages.push_back(Frame(0, segment, at, kMaxFrameBytes));
  }
  ExpectRefused(messages, StatusCode::DATA_LOSS, "fails its check");
}

TEST_F(StoreServiceTest, HugeClaimsAreRefused) {
  ExpectRefused({Begin({1}, uint64_t{1} << 62)}, StatusCode::INVALID_ARGUMENT,
                "bytes");
  ExpectRefused({Begin({1}, uint64_t{1} << 31)}, StatusCode::RESOURCE_EXHAUSTED,
                "never has that much");
  ExpectRefused({Begin({1}, 0)}, StatusCode::INVALID_ARGUMENT, "0 bytes");
  v1::WriteRequest wrong_key = Begin({1}, 1000);
  wrong_key.mutable_begin()->mutable_segments(0)->set_key("short");
  ExpectRefused({wrong_key}, StatusCode::INVALID_ARGUMENT, "key");
  v1::WriteRequest wrong_kind = Begin({1}, 1000);
  wrong_kind.mutable_begin()->mutable_segments(0)->set_kind(
      v1::SEGMENT_KIND_UNSPECIFIED);
  ExpectRefused({wrong_kind}, StatusCode::INVALID_ARGUMENT, "kind");
  v1::WriteRequest many;
  for (size_t i = 0; i <= kMaxStoreKeys; ++i) {
    many.mutable_begin()->add_segments();
  }
  ExpectRefused({many}, StatusCode::INVALID_ARGUMENT, "at most 65536");
}

TEST_F(StoreServiceTest, MessagesLongerThanAllowedAreRefused) {
  v1::WriteRequest request;
  request.mutable_frame()->set_content(std::string(kMaxStoreMessageBytes, 'x'));
  const grpc::Status status = Write({Begin({1}, 1000), request});
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  AwaitNothingReserved();
}

TEST_F(StoreServiceTest, TooManyKeysAreRefused) {
  v1::ProbeRequest probe;
  v1::ReadRequest read;
  for (size_t i = 0; i <= kMaxStoreKeys; ++i) {
    probe.add_keys(KeyText(1));
    read.add_keys(KeyText(1));
  }
  v1::ProbeResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Probe(&context, probe, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext read_context;
  v1::ReadResponse message;
  auto stream = stub_->Read(&read_context, read);
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace winnow
