#pragma once

#include <cstdint>

#include "cache_store/format/manifest.h"
#include "gpu/kv_tile.h"

namespace winnow {

// Bytes of private tiles that a sequence holds at most from its loading until
// `max_tokens` steps were made: partial blocks, and the growth of every head;
// KvSequence::PrivateBytes() in the end.  `manifest` is valid.
uint64_t PeakPrivateBytes(const Manifest& manifest, const KvTileShape& tile,
                          int64_t max_tokens);

// Bytes to reserve before a sequence is loaded: what is stored, as it may have
// to be copied, the private tiles, sums and sinks.
uint64_t DecodeMemoryBytes(const Manifest& manifest, const KvTileShape& tile,
                           int64_t max_tokens);

}  // namespace winnow
