#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "gpu/attention.h"
#include "gpu/backend.h"

namespace winnow {

// What a random row of attention looks like.
struct AttentionSpec {
  KvTileShape shape;
  int group = 1;
  int num_queries = 1;
  std::vector<int> tile_counts;                  // entries of each tile
  std::optional<float> log_bias = std::nullopt;  // of a compensation entry
  float logit_gain = 1;  // standard deviation of the logits
  unsigned seed = 1;

  int NumEntries() const;
};

// Tiles of `entries` entries: sinks of four first where they fit, an empty
// tile, then full blocks, a part-filled one among them, and a part-filled last
// one.
std::vector<int> OddTiles(int entries);

// A row with random keys, values and queries in the backend's memory.  Slots
// beyond a tile's count hold NaN: nobody may look at them.  Queries are
// rounded as the tiles are, so that only probabilities are left to round.
class AttentionProblem {
 public:
  AttentionProblem(Backend& backend, const AttentionSpec& spec);

  const AttentionSpec& spec() const { return spec_; }
  AttentionRow Row();
  AttentionArgs Args(std::span<const AttentionRow> rows) const;

  // Runs the row alone.
  std::vector<float> Run(Backend& backend);

  // The softmax written out in double precision, one query head at a time:
  // what Run gives but for rounding.
  std::vector<float> Expected() const;
  // Probabilities of query (t, g), the compensation entry last if there is one.
  std::vector<double> Probabilities(int t, int g) const;

  // Entries as stored, to be changed before the row is run.
  std::span<float> Key(int entry);
  std::span<float> Value(int entry);
  std::span<float> compensation_key() { return compensation_key_; }
  std::span<float> compensation_value() { return compensation_value_; }
  // Writes changed entries to the tiles.
  void StoreEntries();

  std::span<const float> output() const { return output_; }
  float* query() { return query_.data(); }

 private:
  const float* Query(int t, int g) const;

  AttentionSpec spec_;
  std::vector<float> keys_;    // [entries, head_dim]
  std::vector<float> values_;  // [entries, head_dim]
  std::vector<float> query_;   // [num_queries, group, head_dim]
  std::vector<float> output_;
  std::vector<float> compensation_key_;
  std::vector<float> compensation_value_;
  DeviceBuffer memory_;
  std::vector<KvTileRef> tiles_;
};

}  // namespace winnow
