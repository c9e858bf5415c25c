#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace winnow {

// Token ids from a JSON file: an array of whole numbers, or an object whose
// member "ids" is one.  At most 16 MiB.  InvalidArgument names the file and
// what is wrong with it.
absl::StatusOr<std::vector<int32_t>> ReadIdsFile(const std::string& path);

}  // namespace winnow
