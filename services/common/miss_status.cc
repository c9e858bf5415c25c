#include "services/common/miss_status.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"

namespace winnow {
namespace {

constexpr absl::string_view kPayload = "winnow.v1/miss-reason";

}  // namespace

absl::Status MissStatus(MissReason reason, std::string_view what) {
  absl::Status status = absl::AbortedError(
      absl::StrCat("the store no longer has ", Absl(what), " (",
                   Absl(MissReasonName(reason)), "); prefill it again"));
  const auto byte = static_cast<char>(reason);
  status.SetPayload(kPayload, absl::Cord(absl::string_view(&byte, 1)));
  return status;
}

MissReason MissOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value() || payload->size() != 1) {
    return MissReason::kNone;
  }
  const auto reason = static_cast<uint8_t>((*payload)[0]);
  return reason <= static_cast<uint8_t>(MissReason::kTimeout)
             ? static_cast<MissReason>(reason)
             : MissReason::kNone;
}

MissReason FirstMiss(std::span<const MissReason> reasons) {
  const auto miss = std::ranges::find_if(
      reasons, [](MissReason reason) { return reason != MissReason::kNone; });
  return miss == reasons.end() ? MissReason::kNone : *miss;
}

}  // namespace winnow
