#pragma once

#include <cstddef>
#include <cstdint>

namespace winnow {

// Element type of keys and values at rest.
enum class KvDtype : uint8_t { kFloat32 = 0, kBfloat16 = 1 };

constexpr size_t KvDtypeSize(KvDtype dtype) {
  return dtype == KvDtype::kFloat32 ? 4 : 2;
}

// Tokens in a block.  A boundary is a multiple of it.
inline constexpr int kBlockTokens = 64;

// Tokens whose values lie side by side in a tile, one dimension after the
// other, as the matrix units of decode stream them.
inline constexpr int kValueGroupTokens = 32;

// A tile is K and V of one (layer, KV head, block): the atom of every layout.
//
//   tile := K[64][d] V[2][d][32]
//
// K is row-major by token; V holds, for each half block of 32 tokens, the 32
// values of dimension 0, then of dimension 1, and so on.  A tile that holds
// fewer than 64 tokens is zero-padded.  Keys are stored after rotary embedding
// at their original positions.
struct KvTileShape {
  int head_dim = 0;  // d; a multiple of 16, at most 256
  KvDtype dtype = KvDtype::kBfloat16;

  constexpr size_t KeyBytes() const {
    return size_t{kBlockTokens} * head_dim * KvDtypeSize(dtype);
  }
  constexpr size_t Bytes() const { return 2 * KeyBytes(); }

  // Index, in elements, of key dimension `dim` of token `slot`.
  constexpr size_t KeyIndex(int slot, int dim) const {
    return size_t{static_cast<unsigned>(slot)} * head_dim + dim;
  }
  // Index, in elements from the start of the tile, of value dimension `dim` of
  // token `slot`.
  constexpr size_t ValueIndex(int slot, int dim) const {
    return size_t{kBlockTokens} * head_dim +
           (size_t{static_cast<unsigned>(slot / kValueGroupTokens)} * head_dim +
            dim) *
               kValueGroupTokens +
           slot % kValueGroupTokens;
  }

  bool operator==(const KvTileShape&) const = default;
};

// The part of a tile that a row attends over.  The pointer is 64-byte aligned.
struct KvTileRef {
  const void* tile = nullptr;
  int count = kBlockTokens;  // tokens [0, count) are valid
};

}  // namespace winnow
