#include "gpu/cpu/reference/packing.h"

#include <cstdint>
#include <cstring>

#include "absl/status/status.h"

#include "gpu/base/status.h"
#include "gpu/cpu/packing_args.h"
#include "gpu/cpu/reference/tile_element.h"

namespace winnow {
namespace {

void CopyElement(const CopySlotsArgs& copy, size_t index) {
  const size_t bytes = KvDtypeSize(copy.shape.dtype);
  std::memcpy(static_cast<std::byte*>(copy.target) + index * bytes,
              static_cast<const std::byte*>(copy.source) + index * bytes,
              bytes);
}

}  // namespace

absl::Status ReferencePacking::Pack(std::span<const PackArgs> heads) {
  WINNOW_RETURN_IF_ERROR(CheckPack(heads));
  for (const PackArgs& head : heads) {
    const KvTileShape& shape = head.shape;
    for (int i = 0; i < head.num_tokens; ++i) {
      void* tile = head.tiles[(head.first_slot + i) / kBlockTokens];
      const int slot = (head.first_slot + i) % kBlockTokens;
      for (int dim = 0; dim < shape.head_dim; ++dim) {
        StoreTileElement(tile, shape.dtype, shape.KeyIndex(slot, dim),
                         head.key[i * head.token_stride + dim]);
        StoreTileElement(tile, shape.dtype, shape.ValueIndex(slot, dim),
                         head.value[i * head.token_stride + dim]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReferencePacking::Fold(std::span<const FoldArgs> heads) {
  WINNOW_RETURN_IF_ERROR(CheckFold(heads));
  for (const FoldArgs& head : heads) {
    const KvTileShape& shape = head.shape;
    for (int slot = head.begin; slot < head.end; ++slot) {
      for (int dim = 0; dim < shape.head_dim; ++dim) {
        head.key_sum[dim] +=
            LoadTileElement(head.tile, shape.dtype, shape.KeyIndex(slot, dim));
        head.value_sum[dim] += LoadTileElement(head.tile, shape.dtype,
                                               shape.ValueIndex(slot, dim));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReferencePacking::CopySlots(
    std::span<const CopySlotsArgs> copies) {
  WINNOW_RETURN_IF_ERROR(CheckCopySlots(copies));
  for (const CopySlotsArgs& copy : copies) {
    for (int slot = copy.begin; slot < copy.end; ++slot) {
      for (int dim = 0; dim < copy.shape.head_dim; ++dim) {
        CopyElement(copy, copy.shape.KeyIndex(slot, dim));
        CopyElement(copy, copy.shape.ValueIndex(slot, dim));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace winnow
