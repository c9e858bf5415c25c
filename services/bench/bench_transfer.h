#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/bench/bench_raw_socket.h"
#include "services/bench/bench_spread.h"

namespace winnow {

struct TransferBenchOptions {
  std::vector<size_t> context_bytes = {size_t{64} << 20, size_t{256} << 20};
  int repeats = 5;
  absl::Duration wait_quiet;  // before each repeat, at most
};

// Contexts of one size between this process and a store of its own, over one
// kind of socket, beside the same bytes through a plain socket.  Shares are of
// the raw transfer of the same repeat.
struct TransferFigures {
  SocketKind socket = SocketKind::kUnix;
  size_t context_bytes = 0;  // of all segments
  size_t context_segments = 0;
  Spread raw_bytes_per_s;          // plain reads into one buffer
  Spread checked_raw_bytes_per_s;  // and a checksum of every byte
  Spread write_bytes_per_s;  // fill, seal, send, commit; the store verifies
  Spread pull_bytes_per_s;   // lease, ReadMany, verified; release
  Spread write_raw_share;
  Spread pull_raw_share;
  Spread pull_checked_raw_share;
};

struct TransferReport {
  std::vector<TransferFigures> figures;
  int repeats = 0;
  uint64_t pulled_bytes_compared = 0;  // with what was written, all equal
  double other_cores = 0;
};

// Starts a store, as a process of its own, and the senders of the raw
// transfers; repeats go round all figures of a context size.  To be called
// before this process has threads that could be in the middle of something.
//
// Errors of RunningRole and RawSender, and of the store; DataLoss if what
// comes back is not what was written.
absl::StatusOr<TransferReport> BenchTransfer(
    const TransferBenchOptions& options);

}  // namespace winnow
