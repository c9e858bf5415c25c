#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cache_store/format/segment.h"
#include "cache_store/store/kv_store.h"

namespace winnow {

// A context to be moved: segments as SmolLM2 has them under razor, blocks of 28
// retrieval heads (448 KiB) and, after every sixteenth, one of a single head
// (16 KiB).
//
// Not thread-safe.
class BenchContext {
 public:
  // Segments of about `bytes` together, at least one.
  explicit BenchContext(size_t bytes);

  size_t bytes() const { return bytes_; }
  size_t segments() const { return shapes_.size(); }

  // Writes all segments under keys that no store has seen, with payloads out
  // of `source`, which has at least bytes().  Errors of the store.
  absl::Status Write(KvStore& store, std::span<const std::byte> source);

  // Leases what was written last, reads all of it at once and releases it.
  // Errors of the store; DataLoss if a segment is a miss.
  absl::Status Pull(KvStore& store) const;

  // The same, and compares every byte of the payloads.  DataLoss if one
  // differs.
  absl::Status PullAndCompare(KvStore& store,
                              std::span<const std::byte> source) const;

  absl::Status Remove(KvStore& store) const;

 private:
  absl::StatusOr<std::vector<ReadResult>> Read(KvStore& store) const;

  std::vector<SegmentShape> shapes_;
  std::vector<SegmentKey> keys_;
  size_t bytes_ = 0;
};

}  // namespace winnow
