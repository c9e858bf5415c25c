#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "gpu/kv_tile.h"

namespace winnow {

// Writes keys and values of consecutive tokens into tiles, rounding to the
// tile's type (to nearest, ties to even).  Token i goes to slot
// first_slot + i, counted over all tiles; other slots stay as they are.
struct PackArgs {
  const float* key = nullptr;    // token i at i * token_stride, [head_dim]
  const float* value = nullptr;  // likewise
  int64_t token_stride = 0;
  int num_tokens = 0;
  KvTileShape shape;
  std::span<void* const> tiles;
  int first_slot = 0;
};

// Adds the keys and values of slots [begin, end) to running float32 sums, one
// sum an element, token after token in slot order: folding block by block
// equals folding in one go, bit for bit, on every backend.
struct FoldArgs {
  const void* tile = nullptr;
  KvTileShape shape;
  int begin = 0;
  int end = 0;
  float* key_sum = nullptr;    // [head_dim]
  float* value_sum = nullptr;  // [head_dim]
};

// Copies slots [begin, end) of one tile to the same slots of another, bit for
// bit.
struct CopySlotsArgs {
  const void* source = nullptr;
  void* target = nullptr;
  KvTileShape shape;
  int begin = 0;
  int end = 0;
};

// Between token-major float32 and tiles, and from tiles to sums.
class PackingOps {
 public:
  virtual ~PackingOps() = default;
  // Each argument is one KV head; the heads of a call may run in parallel.
  virtual absl::Status Pack(std::span<const PackArgs> heads) = 0;
  virtual absl::Status Fold(std::span<const FoldArgs> heads) = 0;
  virtual absl::Status CopySlots(std::span<const CopySlotsArgs> copies) = 0;
};

}  // namespace winnow
