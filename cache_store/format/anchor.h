#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "cache_store/format/segment.h"

namespace winnow {

// Payload of an anchor segment, little-endian, H local heads in the order
// [layer][local head], s sinks, d = head_dim:
//
//   anchor := window:u32 slack:u32 dropped:u32 sinks:u32 pad[to 64]
//             weights:f32[H] pad[to 64]
//             key_sums:f32[H][d] value_sums:f32[H][d]
//             sink_keys:T[H][s][d] sink_values:T[H][s][d]   // T: the KV dtype
struct AnchorParameters {
  uint32_t window = 0;
  uint32_t slack = 0;
  uint32_t dropped = 0;  // N_d: tokens in the sums
  uint32_t sinks = 0;

  bool operator==(const AnchorParameters&) const = default;
};

// Bytes of the payload for `num_heads` heads.
size_t AnchorPayloadBytes(const KvTileShape& tile, uint32_t num_heads,
                          uint32_t num_sinks);

// A view of an anchor payload, for writing it in place and for reading it.
// Byte is std::byte or const std::byte; the payload is 64-byte aligned and
// AnchorPayloadBytes() long, and outlives the view.
template <typename Byte>
class AnchorView {
 public:
  template <typename T>
  using Like = std::conditional_t<std::is_const_v<Byte>, const T, T>;

  AnchorView(std::span<Byte> payload, const KvTileShape& tile,
             uint32_t num_heads, uint32_t num_sinks);

  Like<AnchorParameters>& parameters() const;
  Like<float>& weight(uint32_t head) const;
  std::span<Like<float>> key_sum(uint32_t head) const;    // [d]
  std::span<Like<float>> value_sum(uint32_t head) const;  // [d]
  std::span<Byte> sink_keys(uint32_t head) const;         // T[s][d]
  std::span<Byte> sink_values(uint32_t head) const;       // T[s][d]

 private:
  std::span<Byte> payload_;
  KvTileShape tile_;
  uint32_t num_heads_;
  uint32_t num_sinks_;
};

}  // namespace winnow
