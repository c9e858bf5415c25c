#include "services/common/grpc_status.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/utf8.h"
#include "services/common/retry_hint.h"

namespace winnow {
namespace {

// gRPC's own name: its clients honour it when they retry by themselves.
constexpr char kRetryKey[] = "grpc-retry-pushback-ms";
constexpr int64_t kMaxRetryMs = 3'600'000;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Both enumerations have the numbers of the gRPC specification.
constexpr int kMaxCode = static_cast<int>(grpc::StatusCode::UNAUTHENTICATED);

std::string BoundedUtf8(std::string_view text) {
  std::string message;
  while (!text.empty() && message.size() < kMaxStatusMessage) {
    const std::string_view rest = text.substr(0, kMaxStatusMessage);
    const size_t good = std::min(ValidateUtf8(rest), rest.size());
    message += rest.substr(0, good);
    text.remove_prefix(good);
    if (!text.empty() && good < rest.size()) {
      message += kReplacement;
      text.remove_prefix(1);
    }
  }
  if (message.size() > kMaxStatusMessage) {
    message.resize(kMaxStatusMessage);
    // The cut may lie within a character.
    message.resize(std::min(ValidateUtf8(message), message.size()));
  }
  return message;
}

int KnownCode(int code) {
  return code < 0 || code > kMaxCode || code == grpc::StatusCode::UNKNOWN
             ? static_cast<int>(grpc::StatusCode::INTERNAL)
             : code;
}

std::string_view View(const grpc::string_ref& text) {
  return {text.data(), text.size()};
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  const int code = KnownCode(static_cast<int>(status.code()));
  return {static_cast<grpc::StatusCode>(code),
          BoundedUtf8({status.message().data(), status.message().size()})};
}

void AddRetryTrailer(grpc::ServerContextBase& context,
                     const absl::Status& status) {
  if (const std::optional<absl::Duration> after = RetryHint(status)) {
    context.AddTrailingMetadata(
        kRetryKey, absl::StrCat(absl::ToInt64Milliseconds(*after)));
  }
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  const int code = KnownCode(status.error_code());
  return {static_cast<absl::StatusCode>(code),
          Absl(BoundedUtf8(status.error_message()))};
}

absl::Status FromGrpcStatus(const grpc::Status& status,
                            const grpc::ClientContext& context) {
  absl::Status result = FromGrpcStatus(status);
  if (result.ok()) {
    return result;
  }
  const auto& trailer = context.GetServerTrailingMetadata();
  const auto entry = trailer.find(kRetryKey);
  int64_t milliseconds = -1;
  if (entry != trailer.end() &&
      absl::SimpleAtoi(Absl(View(entry->second)), &milliseconds) &&
      milliseconds >= 0 && milliseconds <= kMaxRetryMs) {
    SetRetryHint(result, absl::Milliseconds(milliseconds));
  }
  return result;
}

}  // namespace winnow
