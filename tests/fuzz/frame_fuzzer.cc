// Messages of a Read stream from a peer that is not to be trusted: nothing
// crashes, and no segment comes out that was not verified.
//
// The input is a list of messages, each behind its length in two bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include <grpcpp/support/slice.h>

#include "cache_store/format/segment.h"
#include "services/common/remote_store_read.h"

using winnow::MissReason;
using winnow::ReadResult;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::vector<winnow::SegmentKey> keys(3);
  for (uint8_t i = 0; i < 3; ++i) {
    keys[i].bytes[0] = i;
  }
  static const auto kPool = winnow::SlabPool::Create();
  winnow::RemoteStoreRead read(keys, 1 << 20, kPool);
  while (size >= 2) {
    const size_t length =
        std::min<size_t>(size - 2, bytes[0] | size_t{bytes[1]} << 8);
    // Two slices, cut where the bytes themselves say.
    const size_t cut = length == 0 ? 0 : bytes[2] % length;
    const grpc::Slice slices[] = {grpc::Slice(bytes + 2, cut),
                                  grpc::Slice(bytes + 2 + cut, length - cut)};
    grpc::ByteBuffer message(slices, 2);
    if (!read.Take(message).ok()) {
      break;
    }
    bytes += 2 + length;
    size -= 2 + length;
  }
  const std::vector<ReadResult> results = std::move(read).results();
  for (size_t i = 0; i < results.size(); ++i) {
    const std::span<const std::byte> segment = results[i].view.bytes;
    if (segment.empty()) {
      continue;
    }
    const auto header = winnow::ParseSegmentHeader(segment);
    if (results[i].miss != MissReason::kNone ||
        (header.ok() && header->key != keys[i])) {
      std::abort();
    }
  }
  return 0;
}
