#pragma once

#include <cstddef>
#include <span>

#include "gpu/kv_tile.h"

namespace winnow {

// Tokens outside of tiles, one after the other: keys T[n][d], values T[n][d].
// Sinks and tails are stored so, because a tile of few tokens is mostly
// padding.

// Bytes of the keys, or of the values, of `num_tokens` tokens.
constexpr size_t TokenRowBytes(const KvTileShape& shape, size_t num_tokens) {
  return num_tokens * shape.head_dim * KvDtypeSize(shape.dtype);
}

// Copies slots [begin, end) of a tile to rows, and rows to those slots, bit for
// bit; other slots stay as they are.
void TokensFromTile(const void* tile, const KvTileShape& shape, int begin,
                    int end, std::span<std::byte> keys,
                    std::span<std::byte> values);
void TokensToTile(std::span<const std::byte> keys,
                  std::span<const std::byte> values, const KvTileShape& shape,
                  int begin, int end, void* tile);

}  // namespace winnow
