#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "gpu/weight.h"

namespace winnow {

// A tensor where it lies in a model file.
struct StoredTensor {
  std::optional<WeightType> type;    // none: an element type nothing runs on
  std::string type_name;             // the file's word for it
  std::vector<int64_t> shape;        // row-major: the last dimension is a row
  std::span<const std::byte> bytes;  // exactly as long as type and shape say
};

using TensorTable = absl::flat_hash_map<std::string, StoredTensor>;

}  // namespace winnow
