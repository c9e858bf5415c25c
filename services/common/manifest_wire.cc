#include "services/common/manifest_wire.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

// Beside the overloads below.
using winnow::FromWire;
using winnow::ToWire;

absl::StatusOr<std::array<uint8_t, 32>> DigestFromWire(
    absl::string_view member, const std::string& wire) {
  std::array<uint8_t, 32> digest{};
  if (wire.size() != digest.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "manifest: ", member, " has ", wire.size(), " bytes; it must have 32"));
  }
  std::ranges::copy(wire, digest.begin());
  return digest;
}

absl::StatusOr<KvDtype> FromWire(v1::KvDtype wire) {
  switch (wire) {
    case v1::KV_DTYPE_BFLOAT16:
      return KvDtype::kBfloat16;
    case v1::KV_DTYPE_FLOAT32:
      return KvDtype::kFloat32;
    default:
      return absl::InvalidArgumentError(
          "manifest: identity.dtype must be bfloat16 or float32");
  }
}

void ToWire(const CacheIdentity& identity, v1::CacheIdentity* wire) {
  const auto bytes = [](const std::array<uint8_t, 32>& digest) {
    return std::string(digest.begin(), digest.end());
  };
  wire->set_model_digest(bytes(identity.model_digest));
  wire->set_tokenizer_digest(bytes(identity.tokenizer_digest));
  wire->set_dtype(identity.dtype == KvDtype::kFloat32 ? v1::KV_DTYPE_FLOAT32
                                                      : v1::KV_DTYPE_BFLOAT16);
  wire->set_rotary(identity.rotary);
}

absl::StatusOr<CacheIdentity> FromWire(const v1::CacheIdentity& wire,
                                       const std::string& tenant_salt) {
  CacheIdentity identity;
  WINNOW_ASSIGN_OR_RETURN(
      identity.model_digest,
      DigestFromWire("identity.model_digest", wire.model_digest()));
  WINNOW_ASSIGN_OR_RETURN(
      identity.tokenizer_digest,
      DigestFromWire("identity.tokenizer_digest", wire.tokenizer_digest()));
  WINNOW_ASSIGN_OR_RETURN(identity.dtype, FromWire(wire.dtype()));
  identity.rotary = wire.rotary();
  identity.tenant_salt = tenant_salt;
  return identity;
}

void ToWire(const Plan& plan, v1::Plan* wire) {
  ToWire(plan.policy, wire->mutable_policy());
  wire->set_num_layers(plan.grid.num_layers);
  wire->set_num_kv_heads(plan.grid.num_kv_heads);
  wire->set_retrieval(
      std::string(plan.retrieval.begin(), plan.retrieval.end()));
  wire->mutable_weights()->Assign(plan.weights.begin(), plan.weights.end());
  wire->set_num_tokens(plan.num_tokens);
  wire->set_boundary(plan.boundary);
  wire->set_window(plan.window);
  wire->set_window_begin(plan.window_begin);
  wire->set_sinks(plan.sinks);
  wire->set_slack(plan.slack);
}

absl::StatusOr<Plan> FromWire(const v1::Plan& wire) {
  Plan plan;
  WINNOW_ASSIGN_OR_RETURN(plan.policy, FromWire(wire.policy()));
  plan.grid = {.num_layers = wire.num_layers(),
               .num_kv_heads = wire.num_kv_heads()};
  plan.retrieval.reserve(wire.retrieval().size());
  for (const char kept : wire.retrieval()) {
    if (kept != 0 && kept != 1) {
      return absl::InvalidArgumentError(
          "manifest: plan.retrieval must hold bytes 0 and 1");
    }
    plan.retrieval.push_back(kept == 1);
  }
  plan.weights.assign(wire.weights().begin(), wire.weights().end());
  plan.num_tokens = wire.num_tokens();
  plan.boundary = wire.boundary();
  plan.window = wire.window();
  plan.window_begin = wire.window_begin();
  plan.sinks = wire.sinks();
  plan.slack = wire.slack();
  return plan;
}

void ToWire(const ManifestSegment& segment, v1::ManifestSegment* wire) {
  const SegmentShape& shape = segment.shape;
  wire->set_key(
      std::string(segment.key.bytes.begin(), segment.key.bytes.end()));
  wire->set_kind(ToWire(shape.kind));
  wire->set_first_token(static_cast<int64_t>(shape.first_token));
  wire->set_end_token(static_cast<int64_t>(shape.end_token));
  wire->set_num_heads(static_cast<int32_t>(shape.num_heads));
  wire->set_head_dim(shape.tile.head_dim);
  wire->set_num_blocks(static_cast<int32_t>(shape.num_blocks));
  wire->set_num_sinks(static_cast<int32_t>(shape.num_sinks));
  wire->set_shared(segment.shared);
}

// Numbers below 0 become large ones, which no plan calls for.
absl::StatusOr<ManifestSegment> FromWire(const v1::ManifestSegment& wire,
                                         const Manifest& manifest) {
  ManifestSegment segment;
  WINNOW_ASSIGN_OR_RETURN(segment.key, SegmentKeyFromWire(wire.key()));
  SegmentShape& shape = segment.shape;
  WINNOW_ASSIGN_OR_RETURN(shape.kind, FromWire(wire.kind()));
  shape.tile = {.head_dim = wire.head_dim(), .dtype = manifest.identity.dtype};
  shape.num_layers = static_cast<uint32_t>(manifest.plan.grid.num_layers);
  shape.num_heads = static_cast<uint32_t>(wire.num_heads());
  shape.num_blocks = static_cast<uint32_t>(wire.num_blocks());
  shape.num_sinks = static_cast<uint32_t>(wire.num_sinks());
  shape.first_token = static_cast<uint64_t>(wire.first_token());
  shape.end_token = static_cast<uint64_t>(wire.end_token());
  segment.shared = wire.shared();
  return segment;
}

}  // namespace

void ToWire(const Manifest& manifest, v1::Manifest* wire) {
  ToWire(manifest.identity, wire->mutable_identity());
  ToWire(manifest.plan, wire->mutable_plan());
  wire->set_num_tokens(manifest.num_tokens);
  wire->set_next_position(manifest.next_position);
  wire->mutable_segments()->Reserve(static_cast<int>(manifest.segments.size()));
  for (const ManifestSegment& segment : manifest.segments) {
    ToWire(segment, wire->add_segments());
  }
  wire->mutable_recent_ids()->Assign(manifest.recent_ids.begin(),
                                     manifest.recent_ids.end());
  ToWire(manifest.lease, wire->mutable_lease());
}

absl::StatusOr<Manifest> FromWire(const v1::Manifest& wire,
                                  const std::string& tenant_salt) {
  Manifest manifest;
  WINNOW_ASSIGN_OR_RETURN(manifest.identity,
                          FromWire(wire.identity(), tenant_salt));
  WINNOW_ASSIGN_OR_RETURN(manifest.plan, FromWire(wire.plan()));
  manifest.num_tokens = wire.num_tokens();
  manifest.next_position = wire.next_position();
  manifest.segments.reserve(wire.segments_size());
  for (const v1::ManifestSegment& segment : wire.segments()) {
    WINNOW_ASSIGN_OR_RETURN(manifest.segments.emplace_back(),
                            FromWire(segment, manifest));
  }
  manifest.recent_ids.assign(wire.recent_ids().begin(),
                             wire.recent_ids().end());
  manifest.lease = FromWire(wire.lease());
  WINNOW_RETURN_IF_ERROR(ValidateManifest(manifest));
  return manifest;
}

}  // namespace winnow
