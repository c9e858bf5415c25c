#include "services/common/grpc_status.h"

#include <string>

#include <gtest/gtest.h>

#include "gpu/base/utf8.h"

namespace winnow {
namespace {

TEST(GrpcStatusTest, NeverSaysUnknown) {
  EXPECT_EQ(ToGrpcStatus(absl::UnknownError("x")).error_code(),
            grpc::StatusCode::INTERNAL);
  EXPECT_EQ(FromGrpcStatus({grpc::StatusCode::UNKNOWN, "x"}).code(),
            absl::StatusCode::kInternal);
}

TEST(GrpcStatusTest, KeepsEveryOtherCode) {
  for (int code = 1; code <= 16; ++code) {
    const auto status =
        absl::Status(static_cast<absl::StatusCode>(code), "why");
    if (status.code() != absl::StatusCode::kUnknown) {
      EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
    }
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(GrpcStatusTest, BoundsMessagesAndMakesThemUtf8) {
  const auto message = [](const std::string& text) {
    return ToGrpcStatus(absl::InternalError(text)).error_message();
  };
  EXPECT_EQ(message("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(message("a\xFF"
                    "b"),
            "a\xEF\xBF\xBD"
            "b");
  for (const std::string part : {"a", "\xC3\xA9", "\xF0\x9F\x98\x80", "\xFF"}) {
    std::string text;
    for (int i = 0; i < 5000; ++i) {
      text += part;
    }
    for (int shift = 0; shift < 4; ++shift) {
      const std::string cut = message(std::string(shift, '.') + text);
      EXPECT_LE(cut.size(), kMaxStatusMessage);
      EXPECT_GT(cut.size(), kMaxStatusMessage - 4);
      EXPECT_EQ(ValidateUtf8(cut), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace winnow
