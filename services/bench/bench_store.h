#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/segment.h"
#include "cache_store/store/kv_store.h"
#include "gpu/model/model_config.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_spread.h"

namespace winnow {

struct StoreBenchOptions {
  SegmentShape shape;  // of every segment
  int repeats = 5;
  absl::Duration wait_quiet;  // before each repeat, at most
};

// One caller writing whole contexts into a store that is full, each evicting an
// old one, and reading them back.
struct StoreFigures {
  size_t segment_bytes = 0;
  size_t context_segments = 0;  // of one write or lease
  uint64_t working_set_bytes = 0;
  Spread write_bytes_per_s;          // reserve, fill, seal, commit
  Spread verified_read_bytes_per_s;  // acquire, check every byte in place
};

// A retrieval segment of one block with every head of the model.
SegmentShape FullBlockShape(const ModelConfig& config, KvDtype dtype);

// Fills the store, replacing what it holds, and empties it at the end; a sample
// of the roofs is taken before every repeat.  ResourceExhausted if it has no
// room for a few segments; Internal if what was written cannot be read.
absl::StatusOr<StoreFigures> BenchStore(KvStore& store, RoofMeter& roofs,
                                        const StoreBenchOptions& options);

// Removes all segments.
absl::Status EmptyStore(KvStore& store);

}  // namespace winnow
