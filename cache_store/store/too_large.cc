#include "cache_store/store/too_large.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

#include "gpu/base/absl_string.h"

namespace winnow {
namespace {

constexpr absl::string_view kPayload = "winnow.v1/too-large";

}  // namespace

absl::Status TooLargeForStore(std::string_view message) {
  absl::Status status = absl::ResourceExhaustedError(Absl(message));
  status.SetPayload(kPayload, absl::Cord());
  return status;
}

bool IsTooLargeForStore(const absl::Status& status) {
  return status.GetPayload(kPayload).has_value();
}

}  // namespace winnow
