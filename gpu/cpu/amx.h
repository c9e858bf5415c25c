#pragma once

#include <cstddef>
#include <cstdint>

// AMX: a thread has eight tiles, 16 rows of 64 bytes each, and in one
// instruction
//
//   sums[m][n] += sum_k a[m][k] * b[k][n]
//
// of 32-bit sums.  Of bfloat16, k counts to 32, and row k of `b` holds the
// pairs (b[2k][n], b[2k + 1][n]) for all n; of signed bytes, k counts to 64,
// and row k holds four of them for each n.
//
// Tiles have numbers known to the compiler.  Instructions are written out, as
// GCC 12's own functions let it move stores to memory behind the loads of tiles
// that read them.
//
// Behind a check for CpuLevel::kAmx only, which also asks the system for leave.
namespace winnow::amx {

inline constexpr int kTileRows = 16;
inline constexpr int kTilePairs = 16;                 // rows of a `b`
inline constexpr int kTileBfloat16 = 2 * kTilePairs;  // of a row
inline constexpr int kTileBytes = 64;                 // of a row

// One tile's worth of memory.
struct alignas(64) Tile {
  int8_t rows[kTileRows][kTileBytes];
};

// Makes the calling thread's tiles whole ones while it lives.  Afterwards the
// thread has none, and the system need not save them.
class TileScope {
 public:
  TileScope() {
    Config config = {};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = kTileBytes;
      config.rows[tile] = kTileRows;
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileScope() { asm volatile("tilerelease" : : : "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  static_assert(sizeof(Config) == 64);
};

template <int kTile>
inline void Zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

// Rows are `stride` bytes apart; 0 gives all rows the first one's values.
template <int kTile>
inline void Load(const void* rows, size_t stride = kTileBytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
               :
               : "r"(rows), "r"(stride), "i"(kTile)
               : "memory");
}

template <int kTile>
inline void Store(void* rows, size_t stride = kTileBytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
               :
               : "r"(rows), "r"(stride), "i"(kTile)
               : "memory");
}

// kSums += kA * kB of bfloat16, sums in float32.  Subnormal numbers count as
// zero.
template <int kSums, int kA, int kB>
inline void MultiplyBfloat16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
               :
               : "i"(kSums), "i"(kA), "i"(kB));
}

// kSums += kA * kB of signed bytes, sums in 32-bit integers.
template <int kSums, int kA, int kB>
inline void MultiplyBytes() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0"
               :
               : "i"(kSums), "i"(kA), "i"(kB));
}

}  // namespace winnow::amx
