#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "gpu/kv_tile.h"

namespace winnow {

// Mean key and mean value of the dropped tokens of one head: one more entry of
// its softmax (RazorAttention, section 3.3).  Its logit is
// scale * q.key + log_bias: the bias comes after the scaling.
struct CompensationRef {
  const float* key = nullptr;    // [head_dim]; null: no entry
  const float* value = nullptr;  // [head_dim]
  float log_bias = 0;            // ln(weight * dropped tokens)
};

// One row of ragged attention: the queries of one (sequence, KV head) of one
// layer against the keys and values that this head keeps.
//
// The last `num_queries` entries of the tiles are the queries' own tokens, in
// order: query t attends to the compensation entry and to all entries but the
// last num_queries - 1 - t.
struct AttentionRow {
  std::span<const KvTileRef> tiles;  // read in place; at least num_queries
                                     // entries together
  CompensationRef compensation;
  const float* query = nullptr;  // (t, g) at t * token_stride + g * head_dim
  float* output = nullptr;       // the same strides; not the query
  int num_queries = 1;           // tokens
};

// Attention of several rows.  Rows differ in length; nothing is padded, and no
// matrix of queries times keys is held: memory is bounded by tile sizes.
struct AttentionArgs {
  std::span<const AttentionRow> rows;
  KvTileShape tile;          // of every row
  int group = 1;             // query heads per KV head
  int64_t token_stride = 0;  // floats from a token to the next in query, output
  float scale = 0;           // 1 / sqrt(head_dim)
};

// Probability mass by distance, as head scoring needs it (RazorAttention,
// section 3.1): for query token t at entry p of the row and each query head g,
//   mass[s][g] += sum over j >= 1 with p - j * period >= 0 of the probability
//                 of entry p - j * period + offsets[s].
// Echo heads look at offset 0, earlier occurrences of a token that repeats with
// the period; induction heads at offset 1, the entry right after each of them.
// Only the queries with p >= first_query count.  Softmax is over all entries <=
// p.
struct AttentionMassArgs {
  AttentionRow row;  // output and compensation are ignored
  KvTileShape tile;
  int group = 1;
  int64_t token_stride = 0;
  float scale = 0;
  int period = 0;                // >= 1
  std::span<const int> offsets;  // each in [0, period)
  int64_t first_query = 0;
  double* mass = nullptr;  // [offsets.size(), group]; added to
};

// Attention over tiles.  In fast mode with bfloat16 tiles, queries and
// probabilities may be rounded to bfloat16; accumulation is float32.  With
// float32 tiles everything is float32.
class AttentionOps {
 public:
  virtual ~AttentionOps() = default;
  virtual absl::Status Attention(const AttentionArgs& args) = 0;
  virtual absl::Status AttentionMass(const AttentionMassArgs& args) = 0;
};

}  // namespace winnow
