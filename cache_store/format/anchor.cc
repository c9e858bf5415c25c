#include "cache_store/format/anchor.h"

#include <cassert>

#include "cache_store/format/token_rows.h"

namespace winnow {
namespace {

constexpr size_t kAlignment = 64;

// Where the parts of an anchor lie.
struct AnchorOffsets {
  size_t weights;
  size_t key_sums;
  size_t value_sums;
  size_t sink_keys;
  size_t sink_values;
  size_t end;
};

constexpr size_t AlignUp(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

size_t SumBytes(const KvTileShape& tile) {
  return static_cast<size_t>(tile.head_dim) * sizeof(float);
}

AnchorOffsets Offsets(const KvTileShape& tile, uint32_t num_heads,
                      uint32_t num_sinks) {
  AnchorOffsets at;
  at.weights = AlignUp(sizeof(AnchorParameters));
  at.key_sums = at.weights + AlignUp(num_heads * sizeof(float));
  at.value_sums = at.key_sums + num_heads * SumBytes(tile);
  at.sink_keys = at.value_sums + num_heads * SumBytes(tile);
  at.sink_values = at.sink_keys + num_heads * TokenRowBytes(tile, num_sinks);
  at.end = at.sink_values + num_heads * TokenRowBytes(tile, num_sinks);
  return at;
}

}  // namespace

size_t AnchorPayloadBytes(const KvTileShape& tile, uint32_t num_heads,
                          uint32_t num_sinks) {
  return Offsets(tile, num_heads, num_sinks).end;
}

template <typename Byte>
AnchorView<Byte>::AnchorView(std::span<Byte> payload, const KvTileShape& tile,
                             uint32_t num_heads, uint32_t num_sinks)
    : payload_(payload),
      tile_(tile),
      num_heads_(num_heads),
      num_sinks_(num_sinks) {
  assert(payload.size() == AnchorPayloadBytes(tile, num_heads, num_sinks));
  assert(reinterpret_cast<uintptr_t>(payload.data()) % kAlignment == 0);
}

template <typename Byte>
auto AnchorView<Byte>::parameters() const -> Like<AnchorParameters>& {
  return *reinterpret_cast<Like<AnchorParameters>*>(payload_.data());
}

template <typename Byte>
auto AnchorView<Byte>::weight(uint32_t head) const -> Like<float>& {
  assert(head < num_heads_);
  const size_t at = Offsets(tile_, num_heads_, num_sinks_).weights;
  return reinterpret_cast<Like<float>*>(payload_.data() + at)[head];
}

template <typename Byte>
auto AnchorView<Byte>::key_sum(uint32_t head) const -> std::span<Like<float>> {
  assert(head < num_heads_);
  const size_t at = Offsets(tile_, num_heads_, num_sinks_).key_sums;
  return {reinterpret_cast<Like<float>*>(payload_.data() + at +
                                         head * SumBytes(tile_)),
          static_cast<size_t>(tile_.head_dim)};
}

template <typename Byte>
auto AnchorView<Byte>::value_sum(uint32_t head) const
    -> std::span<Like<float>> {
  assert(head < num_heads_);
  const size_t at = Offsets(tile_, num_heads_, num_sinks_).value_sums;
  return {reinterpret_cast<Like<float>*>(payload_.data() + at +
                                         head * SumBytes(tile_)),
          static_cast<size_t>(tile_.head_dim)};
}

template <typename Byte>
std::span<Byte> AnchorView<Byte>::sink_keys(uint32_t head) const {
  assert(head < num_heads_);
  const size_t bytes = TokenRowBytes(tile_, num_sinks_);
  const size_t at = Offsets(tile_, num_heads_, num_sinks_).sink_keys;
  return payload_.subspan(at + head * bytes, bytes);
}

template <typename Byte>
std::span<Byte> AnchorView<Byte>::sink_values(uint32_t head) const {
  assert(head < num_heads_);
  const size_t bytes = TokenRowBytes(tile_, num_sinks_);
  const size_t at = Offsets(tile_, num_heads_, num_sinks_).sink_values;
  return payload_.subspan(at + head * bytes, bytes);
}

template class AnchorView<std::byte>;
template class AnchorView<const std::byte>;

}  // namespace winnow
