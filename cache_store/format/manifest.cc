#include "cache_store/format/manifest.h"

#include <cmath>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/kv_tile.h"

namespace winnow {
namespace {

constexpr float kMaxWeight = 1 << 16;

absl::Status Bad(absl::string_view member, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("manifest: ", member, " must be ", wanted));
}

absl::Status CheckEqual(absl::string_view member, int64_t value,
                        int64_t wanted) {
  return value == wanted ? absl::OkStatus()
                         : Bad(absl::StrCat(member, " (", value, ")"),
                               absl::StrCat(wanted));
}

// Whether every member of the policy is in range, and the default where its
// kind does not use it.
bool PolicyIsCanonical(const Policy& policy) {
  if (policy.kind > PolicyKind::kStreaming) {
    return false;  // a cast from outside
  }
  const absl::StatusOr<Policy> parsed = ParsePolicy(FormatPolicy(policy));
  return parsed.ok() && *parsed == policy;
}

absl::Status CheckHeads(const Plan& plan) {
  const auto size = static_cast<int64_t>(plan.grid.size());
  WINNOW_RETURN_IF_ERROR(CheckEqual("size of plan.retrieval",
                                    static_cast<int64_t>(plan.retrieval.size()),
                                    size));
  WINNOW_RETURN_IF_ERROR(CheckEqual(
      "size of plan.weights", static_cast<int64_t>(plan.weights.size()), size));
  for (size_t head = 0; head < plan.weights.size(); ++head) {
    const float weight = plan.weights[head];
    // Negative zero too: weights enter keys by their bits.
    if (std::isnan(weight) || std::signbit(weight) || weight > kMaxWeight) {
      return Bad("plan.weights", "numbers from 0 to 65536");
    }
    if (plan.retrieval[head] && weight != 0) {
      return Bad("plan.weights", "0 for retrieval heads");
    }
  }
  return absl::OkStatus();
}

// What local heads keep.
absl::Status CheckRetention(const Plan& plan) {
  if (!plan.HasLocalHeads()) {
    WINNOW_RETURN_IF_ERROR(CheckEqual("plan.window", plan.window, 0));
    WINNOW_RETURN_IF_ERROR(
        CheckEqual("plan.window_begin", plan.window_begin, 0));
    WINNOW_RETURN_IF_ERROR(CheckEqual("plan.sinks", plan.sinks, 0));
    return CheckEqual("plan.slack", plan.slack, 0);
  }
  const Policy& policy = plan.policy;
  if (policy.kind == PolicyKind::kFull) {
    return Bad("plan.retrieval", "all heads under policy full");
  }
  if (plan.boundary < policy.min_length) {
    return Bad("plan.policy", "full for a context shorter than min_length");
  }
  WINNOW_RETURN_IF_ERROR(CheckEqual("plan.sinks", plan.sinks, policy.sinks));
  WINNOW_RETURN_IF_ERROR(CheckEqual("plan.slack", plan.slack, policy.slack));
  if (plan.window < kBlockTokens || plan.window > kMaxContextTokens ||
      plan.window % kBlockTokens != 0) {
    return Bad("plan.window", "whole blocks");
  }
  int64_t window_begin = plan.boundary - plan.window;
  if (window_begin <= plan.sinks) {
    window_begin = 0;
  }
  return CheckEqual("plan.window_begin", plan.window_begin, window_begin);
}

absl::Status CheckPlan(const Plan& plan) {
  if (plan.grid.num_layers < 1 || plan.grid.num_layers > kMaxGridSide ||
      plan.grid.num_kv_heads < 1 || plan.grid.num_kv_heads > kMaxGridSide) {
    return Bad("plan.grid", absl::StrCat("1 to ", kMaxGridSide, " each way"));
  }
  if (plan.num_tokens < 0 || plan.num_tokens > kMaxContextTokens) {
    return Bad("plan.num_tokens", absl::StrCat("0 to ", kMaxContextTokens));
  }
  WINNOW_RETURN_IF_ERROR(
      CheckEqual("plan.boundary", plan.boundary,
                 plan.num_tokens / kBlockTokens * kBlockTokens));
  if (!PolicyIsCanonical(plan.policy)) {
    return Bad("plan.policy", "a policy with parameters in range");
  }
  WINNOW_RETURN_IF_ERROR(CheckHeads(plan));
  return CheckRetention(plan);
}

absl::Status CheckLengths(const Manifest& manifest) {
  if (manifest.num_tokens < 1 ||
      manifest.num_tokens < manifest.plan.num_tokens ||
      manifest.num_tokens > kMaxContextTokens) {
    return Bad("num_tokens", absl::StrCat(manifest.plan.num_tokens, " to ",
                                          kMaxContextTokens, ", at least 1"));
  }
  if (manifest.next_position < 0 ||
      manifest.next_position > kMaxContextTokens) {
    return Bad("next_position", absl::StrCat("0 to ", kMaxContextTokens));
  }
  if (manifest.recent_ids.size() > static_cast<size_t>(manifest.num_tokens)) {
    return Bad("recent_ids", "at most num_tokens long");
  }
  for (const int32_t id : manifest.recent_ids) {
    if (id < 0) {
      return Bad("recent_ids", "token ids");
    }
  }
  if (manifest.lease.ttl < absl::ZeroDuration()) {
    return Bad("lease.ttl", "0 or more");
  }
  return absl::OkStatus();
}

// Number of ExpectedSegments, without making them.
int64_t NumSegments(const Plan& plan, int64_t num_tokens) {
  int64_t count = 0;
  if (plan.HasLocalHeads()) {
    count += plan.HasAnchor() ? 1 : 0;
    count += (plan.boundary - plan.window_begin) / kBlockTokens;
  }
  if (plan.NumRetrieval() > 0) {
    count += plan.boundary / kBlockTokens;
  }
  count += plan.boundary < plan.num_tokens ? 1 : 0;
  count += plan.num_tokens < num_tokens ? 1 : 0;
  count += LoadedBegin(plan, num_tokens) > plan.window_begin ? 1 : 0;
  return count;
}

absl::Status CheckTile(const KvTileShape& tile, KvDtype dtype) {
  if (dtype != KvDtype::kFloat32 && dtype != KvDtype::kBfloat16) {
    return Bad("identity.dtype", "float32 or bfloat16");
  }
  if (tile.dtype != dtype) {
    return Bad("dtype of segments[0]", "that of the identity");
  }
  if (tile.head_dim < 16 || tile.head_dim > 256 || tile.head_dim % 16 != 0) {
    return Bad("head_dim of segments[0]", "a multiple of 16 up to 256");
  }
  return absl::OkStatus();
}

absl::Status CheckSegments(const Manifest& manifest) {
  const std::vector<ManifestSegment>& segments = manifest.segments;
  // Counted before the shapes are made: a small message must not cost much.
  WINNOW_RETURN_IF_ERROR(
      CheckEqual("size of segments", static_cast<int64_t>(segments.size()),
                 NumSegments(manifest.plan, manifest.num_tokens)));
  const KvTileShape& tile = segments.front().shape.tile;
  WINNOW_RETURN_IF_ERROR(CheckTile(tile, manifest.identity.dtype));
  const std::vector<ManifestSegment> expected =
      ExpectedSegments(manifest.plan, tile, manifest.num_tokens);
  absl::flat_hash_set<SegmentKey> keys;
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string name = absl::StrCat("segments[", i, "]");
    if (segments[i].shape != expected[i].shape) {
      return Bad(absl::StrCat("shape of ", name),
                 "what the plan has in that place");
    }
    if (segments[i].shared != expected[i].shared) {
      return Bad(absl::StrCat("shared of ", name),
                 expected[i].shared ? "true" : "false");
    }
    if (segments[i].shape.SegmentBytes() > kMaxSegmentBytes) {
      return Bad(name, absl::StrCat("at most ", kMaxSegmentBytes, " bytes"));
    }
    if (!keys.insert(segments[i].key).second) {
      return Bad(absl::StrCat("key of ", name), "used once");
    }
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t Manifest::StoredBytes() const {
  uint64_t bytes = 0;
  for (const ManifestSegment& segment : segments) {
    bytes += segment.shape.SegmentBytes();
  }
  return bytes;
}

std::vector<ManifestSegment> ExpectedSegments(const Plan& plan,
                                              const KvTileShape& tile,
                                              int64_t num_tokens) {
  const auto num_retrieval = static_cast<uint32_t>(plan.NumRetrieval());
  const auto num_heads = static_cast<uint32_t>(plan.grid.size());
  const uint32_t num_local = num_heads - num_retrieval;
  std::vector<ManifestSegment> segments;
  const auto add = [&](SegmentKind kind, uint32_t heads, int64_t first,
                       int64_t end) -> ManifestSegment& {
    ManifestSegment& segment = segments.emplace_back();
    SegmentShape& shape = segment.shape;
    shape.kind = kind;
    shape.tile = tile;
    shape.num_layers = static_cast<uint32_t>(plan.grid.num_layers);
    shape.num_heads = heads;
    shape.num_blocks = static_cast<uint32_t>(
        (end + kBlockTokens - 1) / kBlockTokens - first / kBlockTokens);
    shape.first_token = static_cast<uint64_t>(first);
    shape.end_token = static_cast<uint64_t>(end);
    return segment;
  };
  const auto add_anchor = [&](int64_t folded_end) -> ManifestSegment& {
    ManifestSegment& anchor =
        add(SegmentKind::kAnchor, num_local, plan.sinks, folded_end);
    anchor.shape.num_blocks = 0;
    anchor.shape.num_sinks = static_cast<uint32_t>(plan.sinks);
    return anchor;
  };
  if (plan.HasAnchor()) {
    add_anchor(plan.window_begin);
  }
  if (num_local > 0) {
    for (int64_t at = plan.window_begin; at < plan.boundary;
         at += kBlockTokens) {
      add(SegmentKind::kWindow, num_local, at, at + kBlockTokens);
    }
  }
  if (num_retrieval > 0) {
    for (int64_t at = 0; at < plan.boundary; at += kBlockTokens) {
      add(SegmentKind::kRetrieval, num_retrieval, at, at + kBlockTokens);
    }
  }
  if (plan.boundary < plan.num_tokens) {
    add(SegmentKind::kTail, num_heads, plan.boundary, plan.num_tokens);
  }
  if (plan.num_tokens < num_tokens) {
    add(SegmentKind::kTail, num_heads, plan.num_tokens, num_tokens).shared =
        false;
  }
  const int64_t loaded_begin = LoadedBegin(plan, num_tokens);
  if (loaded_begin > plan.window_begin) {
    add_anchor(loaded_begin).shared = false;
  }
  return segments;
}

int64_t LoadedBegin(const Plan& plan, int64_t num_tokens) {
  if (!plan.HasLocalHeads() || num_tokens <= plan.num_tokens) {
    return plan.window_begin;
  }
  // Prefill folded what its last token no longer saw; decode's first token
  // may fold more.
  const int64_t begin = VisibleBegin(plan, num_tokens - 1);
  return begin > plan.sinks ? begin : plan.window_begin;
}

absl::Status ValidateManifest(const Manifest& manifest) {
  WINNOW_RETURN_IF_ERROR(CheckPlan(manifest.plan));
  WINNOW_RETURN_IF_ERROR(CheckLengths(manifest));
  return CheckSegments(manifest);
}

}  // namespace winnow
