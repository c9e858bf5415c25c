#include "services/common/prefill_wire.h"

#include "gpu/base/status.h"
#include "services/common/manifest_wire.h"
#include "services/common/wire.h"

namespace winnow {

void ToWire(const PrefillRequest& request, v1::PrefillRequest* wire) {
  wire->mutable_ids()->Assign(request.ids.begin(), request.ids.end());
  wire->set_compact_at(request.compact_at);
  ToWire(request.policy, wire->mutable_policy());
  ToWire(request.sampling, wire->mutable_sampling());
  if (request.forced_first.has_value()) {
    wire->set_forced_first(*request.forced_first);
  }
}

absl::StatusOr<PrefillRequest> FromWire(const v1::PrefillRequest& wire) {
  PrefillRequest request;
  request.ids.assign(wire.ids().begin(), wire.ids().end());
  request.compact_at = wire.compact_at();
  if (wire.has_policy()) {
    WINNOW_ASSIGN_OR_RETURN(request.policy, FromWire(wire.policy()));
  }
  WINNOW_ASSIGN_OR_RETURN(request.sampling, FromWire(wire.sampling()));
  if (wire.has_forced_first()) {
    request.forced_first = wire.forced_first();
  }
  return request;
}

void ToWire(const PrefillResult& result, v1::PrefillResponse* wire) {
  ToWire(result.manifest, wire->mutable_manifest());
  ToWire(result.first, wire->mutable_first());
  wire->set_reused_tokens(result.reused_tokens);
  v1::PrefillTimes* const times = wire->mutable_times();
  ToWire(result.times.queue, times->mutable_queue());
  ToWire(result.times.reuse, times->mutable_reuse());
  ToWire(result.times.context, times->mutable_context());
  ToWire(result.times.compact, times->mutable_compact());
  ToWire(result.times.write, times->mutable_write());
  ToWire(result.times.prompt, times->mutable_prompt());
  ToWire(result.times.total, times->mutable_total());
}

absl::StatusOr<PrefillResult> FromWire(const v1::PrefillResponse& wire,
                                       const std::string& tenant_salt) {
  PrefillResult result;
  WINNOW_ASSIGN_OR_RETURN(result.manifest,
                          FromWire(wire.manifest(), tenant_salt));
  result.first = FromWire(wire.first());
  result.reused_tokens = wire.reused_tokens();
  const v1::PrefillTimes& times = wire.times();
  result.times = {.queue = FromWire(times.queue()),
                  .reuse = FromWire(times.reuse()),
                  .context = FromWire(times.context()),
                  .compact = FromWire(times.compact()),
                  .write = FromWire(times.write()),
                  .prompt = FromWire(times.prompt()),
                  .total = FromWire(times.total())};
  return result;
}

}  // namespace winnow
