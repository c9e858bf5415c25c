#pragma once

#include <cstdint>

#include "absl/status/status.h"

#include "gpu/attention.h"
#include "gpu/packing.h"

namespace winnow {

// What every CPU implementation checks before it starts: InvalidArgument with
// the reason, or OK.  No tile is read.
absl::Status CheckTileShape(const KvTileShape& shape);
absl::Status CheckAttention(const AttentionArgs& args);
absl::Status CheckAttentionMass(const AttentionMassArgs& args);

// Entries of a row, the compensation entry not counted.
int64_t CountEntries(const AttentionRow& row);

}  // namespace winnow
