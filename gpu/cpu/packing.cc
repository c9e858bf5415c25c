#include "gpu/cpu/packing.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"

#include "gpu/base/bfloat16.h"
#include "gpu/base/status.h"
#include "gpu/cpu/fold.h"
#include "gpu/cpu/packing_args.h"

namespace winnow {
namespace {

constexpr int kStep = 16;  // dimensions at a time; divides every head_dim

// Element types of tiles, from float32.
struct Float32Element {
  using Stored = float;
  static float Round(float value) { return value; }
};
struct Bfloat16Element {
  using Stored = uint16_t;
  static uint16_t Round(float value) { return ToBfloat16(value); }
};

// Calls body with the element type of `dtype`.
template <typename Body>
void ForDtype(KvDtype dtype, const Body& body) {
  if (dtype == KvDtype::kFloat32) {
    body(Float32Element());
  } else {
    body(Bfloat16Element());
  }
}

template <typename Element>
void PackToken(const PackArgs& head, int token) {
  using Stored = typename Element::Stored;
  const KvTileShape& shape = head.shape;
  const float* key = head.key + token * head.token_stride;
  const float* value = head.value + token * head.token_stride;
  auto* tile = static_cast<Stored*>(
      head.tiles[(head.first_slot + token) / kBlockTokens]);
  const int slot = (head.first_slot + token) % kBlockTokens;
  Stored* keys = tile + shape.KeyIndex(slot, 0);
  Stored* values = tile + shape.ValueIndex(slot, 0);
  for (int dim = 0; dim < shape.head_dim; dim += kStep) {
    for (int i = 0; i < kStep; ++i) {
      keys[dim + i] = Element::Round(key[dim + i]);
    }
    Stored rounded[kStep];
    for (int i = 0; i < kStep; ++i) {
      rounded[i] = Element::Round(value[dim + i]);
    }
    for (int i = 0; i < kStep; ++i) {
      values[(dim + i) * kValueGroupTokens] = rounded[i];
    }
  }
}

// Copies elements [index, index + count) of a tile.
void CopyElements(const CopySlotsArgs& copy, size_t index, int count) {
  const size_t size = KvDtypeSize(copy.shape.dtype);
  std::memcpy(static_cast<std::byte*>(copy.target) + index * size,
              static_cast<const std::byte*>(copy.source) + index * size,
              count * size);
}

void CopyOne(const CopySlotsArgs& copy) {
  const KvTileShape& shape = copy.shape;
  CopyElements(copy, shape.KeyIndex(copy.begin, 0),
               (copy.end - copy.begin) * shape.head_dim);
  for (int slot = copy.begin; slot < copy.end;) {
    const int group_end = (slot / kValueGroupTokens + 1) * kValueGroupTokens;
    const int end = std::min(copy.end, group_end);
    for (int dim = 0; dim < shape.head_dim; ++dim) {
      CopyElements(copy, shape.ValueIndex(slot, dim), end - slot);
    }
    slot = end;
  }
}

}  // namespace

absl::Status CpuPacking::Pack(std::span<const PackArgs> heads) {
  WINNOW_RETURN_IF_ERROR(CheckPack(heads));
  pool_.ParallelFor(static_cast<int64_t>(heads.size()),
                    [heads](int64_t index, int) {
                      const PackArgs& head = heads[index];
                      ForDtype(head.shape.dtype, [&head](auto element) {
                        for (int i = 0; i < head.num_tokens; ++i) {
                          PackToken<decltype(element)>(head, i);
                        }
                      });
                    });
  return absl::OkStatus();
}

absl::Status CpuPacking::Fold(std::span<const FoldArgs> heads) {
  WINNOW_RETURN_IF_ERROR(CheckFold(heads));
  pool_.ParallelFor(static_cast<int64_t>(heads.size()),
                    [heads](int64_t index, int) { FoldHead(heads[index]); });
  return absl::OkStatus();
}

absl::Status CpuPacking::CopySlots(std::span<const CopySlotsArgs> copies) {
  WINNOW_RETURN_IF_ERROR(CheckCopySlots(copies));
  pool_.ParallelFor(static_cast<int64_t>(copies.size()),
                    [copies](int64_t index, int) { CopyOne(copies[index]); });
  return absl::OkStatus();
}

}  // namespace winnow
