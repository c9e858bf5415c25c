#include "gpu/cpu/attention_args.h"

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

// What Attention and AttentionMass have in common besides the rows.
struct HeadShape {
  KvTileShape tile;
  int group = 1;
  int64_t token_stride = 0;
  float scale = 0;
};

absl::Status CheckHeads(const HeadShape& heads) {
  WINNOW_RETURN_IF_ERROR(CheckTileShape(heads.tile));
  if (heads.group < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("group must be at least 1, not ", heads.group));
  }
  if (heads.token_stride < int64_t{heads.group} * heads.tile.head_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_stride ", heads.token_stride, " is less than ",
                     heads.group, " heads of ", heads.tile.head_dim));
  }
  if (!std::isfinite(heads.scale)) {
    return absl::InvalidArgumentError("scale must be finite");
  }
  return absl::OkStatus();
}

absl::Status CheckRow(const AttentionRow& row) {
  if (row.query == nullptr || row.num_queries < 1) {
    return absl::InvalidArgumentError("a row needs at least one query");
  }
  for (const KvTileRef& tile : row.tiles) {
    if (tile.tile == nullptr || tile.count < 0 || tile.count > kBlockTokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("a tile is null or holds ", tile.count, " tokens"));
    }
  }
  const int64_t entries = CountEntries(row);
  if (entries < row.num_queries) {
    return absl::InvalidArgumentError(
        absl::StrCat("a row has ", entries, " entries for ", row.num_queries,
                     " queries, whose own tokens come last"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t CountEntries(const AttentionRow& row) {
  int64_t entries = 0;
  for (const KvTileRef& tile : row.tiles) {
    entries += tile.count;
  }
  return entries;
}

absl::Status CheckTileShape(const KvTileShape& shape) {
  if (shape.head_dim < 16 || shape.head_dim > 256 || shape.head_dim % 16 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head_dim must be a multiple of 16 up to 256, not ", shape.head_dim));
  }
  if (shape.dtype != KvDtype::kFloat32 && shape.dtype != KvDtype::kBfloat16) {
    return absl::InvalidArgumentError("unknown dtype of keys and values");
  }
  return absl::OkStatus();
}

absl::Status CheckAttention(const AttentionArgs& args) {
  WINNOW_RETURN_IF_ERROR(
      CheckHeads({args.tile, args.group, args.token_stride, args.scale}));
  for (const AttentionRow& row : args.rows) {
    WINNOW_RETURN_IF_ERROR(CheckRow(row));
    if (row.output == nullptr || row.output == row.query) {
      return absl::InvalidArgumentError(
          "a row needs an output that is not its query");
    }
    if ((row.compensation.key == nullptr) !=
        (row.compensation.value == nullptr)) {
      return absl::InvalidArgumentError(
          "a compensation entry has a key and a value, or neither");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAttentionMass(const AttentionMassArgs& args) {
  WINNOW_RETURN_IF_ERROR(
      CheckHeads({args.tile, args.group, args.token_stride, args.scale}));
  WINNOW_RETURN_IF_ERROR(CheckRow(args.row));
  if (args.period < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("period must be at least 1, not ", args.period));
  }
  for (const int offset : args.offsets) {
    if (offset < 0 || offset >= args.period) {
      return absl::InvalidArgumentError(absl::StrCat(
          "offset ", offset, " is not within the period ", args.period));
    }
  }
  if (args.mass == nullptr && !args.offsets.empty()) {
    return absl::InvalidArgumentError("mass must not be null");
  }
  return absl::OkStatus();
}

}  // namespace winnow
