// StoreService and callers that are slow, silent, greedy or gone.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/frame_codec.h"
#include "services/store/store_service.h"
#include "tests/services/store_service_fixture.h"

namespace winnow {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(StoreServiceTest, ASilentWriterIsEnded) {
  Restart({.service = {.write_idle_timeout = absl::Milliseconds(100)}});
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  ASSERT_TRUE(stream->Write(Begin({1}, kSegmentBytes)));
  v1::WriteResponse reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(server_->store().GetStats().value().writes_in_flight, 1);
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
  AwaitNothingReserved();
}

TEST_F(StoreServiceTest, AWriterWithSignsOfLifeIsNotEnded) {
  Restart({.service = {.write_idle_timeout = absl::Milliseconds(400)}});
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  ASSERT_TRUE(stream->Write(Begin({1}, kSegmentBytes)));
  v1::WriteResponse reply;
  ASSERT_TRUE(stream->Read(&reply));
  for (int i = 0; i < 10; ++i) {
    absl::SleepFor(absl::Milliseconds(80));
    ASSERT_TRUE(stream->Write(v1::WriteRequest()));
  }
  EXPECT_EQ(server_->store().GetStats().value().writes_in_flight, 1);
  stream->WritesDone();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  AwaitNothingReserved();
}

TEST_F(StoreServiceTest, ACancelledWriteLeavesNothing) {
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  ASSERT_TRUE(stream->Write(Begin({1}, kSegmentBytes)));
  v1::WriteResponse reply;
  ASSERT_TRUE(stream->Read(&reply));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  AwaitNothingReserved();
}

TEST_F(StoreServiceTest, AReaderThatDoesNotReadLosesItsStream) {
  Restart({.rpc = {.write_stall_timeout = absl::Milliseconds(200)}});
  std::vector<SegmentKey> keys;
  std::vector<SegmentSpec> specs;
  for (uint32_t i = 1; i <= 20; ++i) {
    keys.push_back(TestKey(i));
    specs.push_back({.key = TestKey(i), .bytes = LargeShape().SegmentBytes()});
  }
  LocalStore& store = server_->store();
  auto writer = store.BeginWrite(specs, kTestLease).value();
  for (uint32_t i = 0; i < 20; ++i) {
    const std::string segment = Segment(i + 1);
    std::memcpy(writer->Allocate(i).value().data(), segment.data(),
                segment.size());
    ASSERT_TRUE(writer->Seal(i).ok());
  }
  const Lease lease = writer->Commit().value();
  v1::ReadRequest request;
  request.set_lease_id(lease.id);
  for (uint32_t i = 1; i <= 20; ++i) {
    request.add_keys(KeyText(i));
  }
  grpc::ClientContext context;
  auto stream = stub_->Read(&context, request);
  v1::ReadResponse response;
  ASSERT_TRUE(stream->Read(&response));
  absl::SleepFor(absl::Milliseconds(600));
  int messages = 0;
  while (stream->Read(&response)) {
    ++messages;
  }
  EXPECT_LT(messages, 20 * 3);
  EXPECT_FALSE(stream->Finish().ok());
  // No view pins the store's memory any more.
  ASSERT_TRUE(store.Release(lease.id).ok());
  ASSERT_TRUE(store.Remove(keys).ok());
  for (int i = 0; i < 500 && store.GetStats().value().used_bytes > 0; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(store.GetStats().value().used_bytes, 0);
}

TEST_F(StoreServiceTest, RefusalsForLackOfRoomSayWhenToRetry) {
  grpc::ClientContext first_context;
  auto first = stub_->Write(&first_context);
  ASSERT_TRUE(first->Write(Begin({1}, 40 << 20)));  // of 64 MiB
  v1::WriteResponse reply;
  ASSERT_TRUE(first->Read(&reply));
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  stream->Write(Begin({2}, 40 << 20));
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(found, trailers.end());
  EXPECT_EQ(std::string(found->second.data(), found->second.size()), "1000");
}

TEST_F(StoreServiceTest, AWriteLargerThanTheStoreIsRefusedWithoutAHint) {
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  stream->Write(Begin({1}, uint64_t{1} << 31));
  v1::WriteResponse reply;
  EXPECT_FALSE(stream->Read(&reply));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("needs 2147483648 bytes"));
  EXPECT_THAT(status.error_message(), HasSubstr("holds 67108864 bytes"));
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"),
            0);
}

TEST_F(StoreServiceTest, StreamsInFlightAreLimited) {
  Restart({.rpc = {.max_streams = 1}});
  grpc::ClientContext context;
  auto stream = stub_->Write(&context);
  ASSERT_TRUE(stream->Write(Begin({1}, kSegmentBytes)));
  v1::WriteResponse reply;
  ASSERT_TRUE(stream->Read(&reply));
  const grpc::Status refused = Write({Begin({2}, kSegmentBytes)});
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  stream->WritesDone();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(StoreServiceTest, ListPagesAndRefusesWhatIsNoPage) {
  v1::ListRequest request;
  request.set_page_size(-1);
  v1::ListResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->List(&context, request, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
  request.set_page_size(1);
  request.set_page_token("what?");
  grpc::ClientContext token_context;
  EXPECT_EQ(stub_->List(&token_context, request, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
}

TEST_F(StoreServiceTest, CapabilitiesNameTheLimitsAndTheIncarnation) {
  v1::GetCapabilitiesResponse first;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetCapabilities(&context, {}, &first).ok());
  EXPECT_EQ(first.segment_version(), kSegmentVersion);
  EXPECT_EQ(first.max_frame_bytes(), 1 << 20);
  EXPECT_EQ(first.max_keys(), kMaxStoreKeys);
  EXPECT_EQ(first.max_lease_ttl().seconds(), 600);
  Restart({});
  v1::GetCapabilitiesResponse second;
  grpc::ClientContext second_context;
  ASSERT_TRUE(stub_->GetCapabilities(&second_context, {}, &second).ok());
  EXPECT_NE(first.incarnation(), second.incarnation());
}

}  // namespace
}  // namespace winnow
