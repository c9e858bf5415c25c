// Messages of a Write stream from a caller that is not to be trusted: nothing
// crashes, and a stream that does not commit leaves nothing behind.
//
// The input is a list of messages, each behind its length in two bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include <grpcpp/support/slice.h>

#include "cache_store/store/local_store.h"
#include "services/store/write_session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto store = winnow::LocalStore::Create({.capacity_bytes = 1 << 16,
                                                 .max_segments_per_write = 64})
                         .value();
  {
    winnow::WriteSession session(*store, 64);
    while (size >= 2) {
      const size_t length =
          std::min<size_t>(size - 2, bytes[0] | size_t{bytes[1]} << 8);
      const size_t cut = length == 0 ? 0 : bytes[2] % length;
      const grpc::Slice slices[] = {grpc::Slice(bytes + 2, cut),
                                    grpc::Slice(bytes + 2 + cut, length - cut)};
      grpc::ByteBuffer message(slices, 2);
      if (!session.Take(message).ok()) {
        break;
      }
      bytes += 2 + length;
      size -= 2 + length;
    }
  }
  // The reply to a commit was never delivered, so its lease has ended too.
  const winnow::StoreStats stats = store->GetStats().value();
  if (stats.reserved_bytes != 0 || stats.writes_in_flight != 0 ||
      stats.leases != 0) {
    std::abort();
  }
  return 0;
}
