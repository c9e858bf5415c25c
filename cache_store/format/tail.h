#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "cache_store/format/segment.h"
#include "cache_store/format/token_rows.h"

namespace winnow {

// The part of a tail that lies in one block: slots [begin, end) of it.
struct TailBlock {
  int64_t block = 0;
  int begin = 0;
  int end = 0;
  size_t first_row = 0;  // of the tail's rows
};

// The blocks that a tail's tokens touch, in order.
std::vector<TailBlock> TailBlocks(const SegmentShape& shape);

// A view of a tail's payload, for writing it in place and for reading it.
// Byte is std::byte or const std::byte; the payload is shape.PayloadBytes()
// long and outlives the view, and so does the shape.
template <typename Byte>
class TailView {
 public:
  TailView(std::span<Byte> payload, const SegmentShape& shape)
      : payload_(payload), shape_(shape) {}

  // Rows of a block's tokens of the `index`-th head, [layer][KV head].
  std::span<Byte> keys(size_t index, const TailBlock& block) const {
    return Rows(2 * index, block);
  }
  std::span<Byte> values(size_t index, const TailBlock& block) const {
    return Rows(2 * index + 1, block);
  }

 private:
  std::span<Byte> Rows(size_t part, const TailBlock& block) const {
    const size_t num_tokens = shape_.end_token - shape_.first_token;
    return payload_.subspan(
        part * TokenRowBytes(shape_.tile, num_tokens) +
            TokenRowBytes(shape_.tile, block.first_row),
        TokenRowBytes(shape_.tile, block.end - block.begin));
  }

  std::span<Byte> payload_;
  const SegmentShape& shape_;
};

}  // namespace winnow
