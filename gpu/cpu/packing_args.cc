#include "gpu/cpu/packing_args.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/cpu/attention_args.h"

namespace winnow {
namespace {

absl::Status CheckSlots(int begin, int end) {
  if (begin < 0 || begin > end || end > kBlockTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("slots [", begin, ", ", end, ") are not within a tile of ",
                     kBlockTokens));
  }
  return absl::OkStatus();
}

absl::Status CheckOnePack(const PackArgs& head) {
  WINNOW_RETURN_IF_ERROR(CheckTileShape(head.shape));
  if (head.num_tokens < 0 || head.first_slot < 0) {
    return absl::InvalidArgumentError(
        "num_tokens and first_slot must not be negative");
  }
  if (head.num_tokens == 0) {
    return absl::OkStatus();
  }
  if (head.key == nullptr || head.value == nullptr) {
    return absl::InvalidArgumentError("keys and values must not be null");
  }
  if (head.num_tokens > 1 && head.token_stride < head.shape.head_dim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "token_stride ", head.token_stride, " is less than head_dim"));
  }
  const int64_t last = int64_t{head.first_slot} + head.num_tokens;
  if (last > static_cast<int64_t>(head.tiles.size()) * kBlockTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(head.tiles.size(), " tiles have no slot ", last - 1));
  }
  for (void* tile : head.tiles) {
    if (tile == nullptr) {
      return absl::InvalidArgumentError("a tile is null");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPack(std::span<const PackArgs> heads) {
  for (const PackArgs& head : heads) {
    WINNOW_RETURN_IF_ERROR(CheckOnePack(head));
  }
  return absl::OkStatus();
}

absl::Status CheckFold(std::span<const FoldArgs> heads) {
  for (const FoldArgs& head : heads) {
    WINNOW_RETURN_IF_ERROR(CheckTileShape(head.shape));
    WINNOW_RETURN_IF_ERROR(CheckSlots(head.begin, head.end));
    if (head.tile == nullptr || head.key_sum == nullptr ||
        head.value_sum == nullptr) {
      return absl::InvalidArgumentError("the tile or a sum is null");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCopySlots(std::span<const CopySlotsArgs> copies) {
  for (const CopySlotsArgs& copy : copies) {
    WINNOW_RETURN_IF_ERROR(CheckTileShape(copy.shape));
    WINNOW_RETURN_IF_ERROR(CheckSlots(copy.begin, copy.end));
    if (copy.source == nullptr || copy.target == nullptr) {
      return absl::InvalidArgumentError("source or target is null");
    }
  }
  return absl::OkStatus();
}

}  // namespace winnow
