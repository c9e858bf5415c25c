#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/model/stored_tensor.h"

namespace winnow {

inline constexpr size_t kMaxSafetensorsHeader = size_t{64} << 20;  // bytes
inline constexpr size_t kMaxSafetensorsDimensions = 8;
inline constexpr size_t kMaxSafetensorsShards = 1024;

// Reads the header of a safetensors file and adds its tensors, which borrow
// `bytes`, to `tensors`.  Only the header's pages are touched.  Tensors must
// cover the data without holes or overlaps, as the format demands.
//
// InvalidArgument, with the tensor, for anything else, and for a tensor that
// `tensors` holds already.
absl::Status ReadSafetensors(std::span<const std::byte> bytes,
                             TensorTable& tensors);

// The names of the files that model.safetensors.index.json lists, sorted, each
// once: plain names of the same folder.
absl::StatusOr<std::vector<std::string>> ReadShardNames(
    std::span<const std::byte> index_json);

}  // namespace winnow
