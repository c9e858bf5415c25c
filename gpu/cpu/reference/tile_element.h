#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/base/bfloat16.h"
#include "gpu/kv_tile.h"

namespace winnow {

// Element `index` of a tile (KvTileShape::KeyIndex or ValueIndex) as float32.
inline float LoadTileElement(const void* tile, KvDtype dtype, size_t index) {
  return dtype == KvDtype::kFloat32
             ? static_cast<const float*>(tile)[index]
             : FromBfloat16(static_cast<const uint16_t*>(tile)[index]);
}

// Writes element `index` of a tile, rounded to its type.
inline void StoreTileElement(void* tile, KvDtype dtype, size_t index,
                             float value) {
  if (dtype == KvDtype::kFloat32) {
    static_cast<float*>(tile)[index] = value;
  } else {
    static_cast<uint16_t*>(tile)[index] = ToBfloat16(value);
  }
}

}  // namespace winnow
