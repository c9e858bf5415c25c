#include "cache_store/format/token_rows.h"

#include <cassert>
#include <cstdint>
#include <cstring>

namespace winnow {
namespace {

// Calls copy(tile element, row element) for the values of slots [begin, end).
template <typename Copy>
void ForEachValue(const KvTileShape& shape, int begin, int end, Copy copy) {
  for (int slot = begin; slot < end; ++slot) {
    for (int dim = 0; dim < shape.head_dim; ++dim) {
      copy(shape.ValueIndex(slot, dim), shape.KeyIndex(slot - begin, dim));
    }
  }
}

template <typename T>
void ValuesFromTile(const void* tile, const KvTileShape& shape, int begin,
                    int end, std::byte* values) {
  ForEachValue(shape, begin, end, [&](size_t from, size_t to) {
    std::memcpy(values + to * sizeof(T),
                static_cast<const std::byte*>(tile) + from * sizeof(T),
                sizeof(T));
  });
}

template <typename T>
void ValuesToTile(const std::byte* values, const KvTileShape& shape, int begin,
                  int end, void* tile) {
  ForEachValue(shape, begin, end, [&](size_t to, size_t from) {
    std::memcpy(static_cast<std::byte*>(tile) + to * sizeof(T),
                values + from * sizeof(T), sizeof(T));
  });
}

[[maybe_unused]] bool AreSlots(int begin, int end) {
  return begin >= 0 && begin <= end && end <= kBlockTokens;
}

}  // namespace

void TokensFromTile(const void* tile, const KvTileShape& shape, int begin,
                    int end, std::span<std::byte> keys,
                    std::span<std::byte> values) {
  assert(AreSlots(begin, end));
  assert(keys.size() == TokenRowBytes(shape, end - begin));
  assert(values.size() == keys.size());
  if (keys.empty()) {
    return;  // memcpy must not see the null pointer of an empty span
  }
  std::memcpy(keys.data(),
              static_cast<const std::byte*>(tile) + TokenRowBytes(shape, begin),
              keys.size());
  if (shape.dtype == KvDtype::kFloat32) {
    ValuesFromTile<uint32_t>(tile, shape, begin, end, values.data());
  } else {
    ValuesFromTile<uint16_t>(tile, shape, begin, end, values.data());
  }
}

void TokensToTile(std::span<const std::byte> keys,
                  std::span<const std::byte> values, const KvTileShape& shape,
                  int begin, int end, void* tile) {
  assert(AreSlots(begin, end));
  assert(keys.size() == TokenRowBytes(shape, end - begin));
  assert(values.size() == keys.size());
  if (keys.empty()) {
    return;
  }
  std::memcpy(static_cast<std::byte*>(tile) + TokenRowBytes(shape, begin),
              keys.data(), keys.size());
  if (shape.dtype == KvDtype::kFloat32) {
    ValuesToTile<uint32_t>(values.data(), shape, begin, end, tile);
  } else {
    ValuesToTile<uint16_t>(values.data(), shape, begin, end, tile);
  }
}

}  // namespace winnow
