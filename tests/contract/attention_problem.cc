#include "tests/contract/attention_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "gpu/base/bfloat16.h"

namespace winnow {
namespace {

float RoundTo(KvDtype dtype, float value) {
  return dtype == KvDtype::kFloat32 ? value : FromBfloat16(ToBfloat16(value));
}

void Store(const KvTileShape& shape, void* tile, size_t index, float value) {
  if (shape.dtype == KvDtype::kFloat32) {
    static_cast<float*>(tile)[index] = value;
  } else {
    static_cast<uint16_t*>(tile)[index] = ToBfloat16(value);
  }
}

}  // namespace

int AttentionSpec::NumEntries() const {
  return std::accumulate(tile_counts.begin(), tile_counts.end(), 0);
}

std::vector<int> OddTiles(int entries) {
  std::vector<int> counts;
  const auto take = [&](int count) {
    counts.push_back(std::min(count, entries));
    entries -= counts.back();
  };
  take(4);
  take(0);
  for (int i = 0; entries > 0; ++i) {
    take(i == 1 ? 37 : kBlockTokens);
  }
  return counts;
}

AttentionProblem::AttentionProblem(Backend& backend, const AttentionSpec& spec)
    : spec_(spec) {
  std::mt19937 random(spec.seed);
  const int dims = spec.shape.head_dim;
  const int entries = spec.NumEntries();
  const auto fill = [&](std::vector<float>& values, int count, float gain) {
    std::normal_distribution<float> normal(0, gain);
    values.resize(static_cast<size_t>(count) * dims);
    for (float& value : values) {
      value = RoundTo(spec.shape.dtype, normal(random));
    }
  };
  fill(keys_, entries, 1);
  fill(values_, entries, 1);
  fill(query_, spec.num_queries * spec.group, spec.logit_gain);
  output_.assign(query_.size(), std::numeric_limits<float>::quiet_NaN());
  if (spec.log_bias.has_value()) {
    fill(compensation_key_, 1, 1);
    fill(compensation_value_, 1, 1);
  }
  memory_ =
      *backend.Allocate(spec.tile_counts.size() * spec.shape.Bytes() + 64);
  for (size_t i = 0; i < spec.tile_counts.size(); ++i) {
    tiles_.push_back({memory_.as<std::byte>() + i * spec.shape.Bytes(),
                      spec.tile_counts[i]});
  }
  StoreEntries();
}

void AttentionProblem::StoreEntries() {
  const KvTileShape& shape = spec_.shape;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  int entry = 0;
  for (const KvTileRef& ref : tiles_) {
    void* tile = const_cast<void*>(ref.tile);
    for (int slot = 0; slot < kBlockTokens; ++slot) {
      const bool valid = slot < ref.count;
      for (int dim = 0; dim < shape.head_dim; ++dim) {
        Store(shape, tile, shape.KeyIndex(slot, dim),
              valid ? Key(entry)[dim] : nan);
        Store(shape, tile, shape.ValueIndex(slot, dim),
              valid ? Value(entry)[dim] : nan);
      }
      entry += valid ? 1 : 0;
    }
  }
}

std::span<float> AttentionProblem::Key(int entry) {
  return std::span(keys_).subspan(
      static_cast<size_t>(entry) * spec_.shape.head_dim, spec_.shape.head_dim);
}

std::span<float> AttentionProblem::Value(int entry) {
  return std::span(values_).subspan(
      static_cast<size_t>(entry) * spec_.shape.head_dim, spec_.shape.head_dim);
}

const float* AttentionProblem::Query(int t, int g) const {
  return query_.data() +
         static_cast<size_t>(t * spec_.group + g) * spec_.shape.head_dim;
}

AttentionRow AttentionProblem::Row() {
  AttentionRow row;
  row.tiles = tiles_;
  row.query = query_.data();
  row.output = output_.data();
  row.num_queries = spec_.num_queries;
  if (spec_.log_bias.has_value()) {
    row.compensation = {.key = compensation_key_.data(),
                        .value = compensation_value_.data(),
                        .log_bias = *spec_.log_bias};
  }
  return row;
}

AttentionArgs AttentionProblem::Args(std::span<const AttentionRow> rows) const {
  return {.rows = rows,
          .tile = spec_.shape,
          .group = spec_.group,
          .token_stride = int64_t{spec_.group} * spec_.shape.head_dim,
          .scale = 1 / std::sqrt(static_cast<float>(spec_.shape.head_dim))};
}

std::vector<float> AttentionProblem::Run(Backend& backend) {
  const AttentionRow row = Row();
  std::ranges::fill(output_, std::numeric_limits<float>::quiet_NaN());
  return backend.Attention(Args({&row, 1})).ok() ? output_
                                                 : std::vector<float>();
}

std::vector<double> AttentionProblem::Probabilities(int t, int g) const {
  const int dims = spec_.shape.head_dim;
  const float* query = Query(t, g);
  const double scale = 1 / std::sqrt(static_cast<double>(dims));
  const auto logit = [&](const float* key) {
    return scale * std::inner_product(query, query + dims, key, 0.0);
  };
  std::vector<double> probs;
  const int visible = spec_.NumEntries() - (spec_.num_queries - 1 - t);
  probs.reserve(static_cast<size_t>(visible) + 1);
  for (int entry = 0; entry < visible; ++entry) {
    probs.push_back(logit(keys_.data() + static_cast<size_t>(entry) * dims));
  }
  if (spec_.log_bias.has_value()) {
    probs.push_back(logit(compensation_key_.data()) + *spec_.log_bias);
  }
  const double max = *std::ranges::max_element(probs);
  double sum = 0;
  for (double& x : probs) {
    x = std::exp(x - max);
    sum += x;
  }
  for (double& x : probs) {
    x /= sum;
  }
  return probs;
}

std::vector<float> AttentionProblem::Expected() const {
  const auto dims = static_cast<size_t>(spec_.shape.head_dim);
  std::vector<float> expected;
  std::vector<double> sums(dims);
  const auto add = [&](double probability, const float* value) {
    for (size_t dim = 0; dim < dims; ++dim) {
      sums[dim] += probability * value[dim];
    }
  };
  for (int t = 0; t < spec_.num_queries; ++t) {
    const int visible = spec_.NumEntries() - (spec_.num_queries - 1 - t);
    for (int g = 0; g < spec_.group; ++g) {
      const std::vector<double> probs = Probabilities(t, g);
      std::ranges::fill(sums, 0.0);
      for (int i = 0; i < visible; ++i) {
        add(probs[i], values_.data() + static_cast<size_t>(i) * dims);
      }
      if (spec_.log_bias.has_value()) {
        add(probs.back(), compensation_value_.data());
      }
      for (const double sum : sums) {
        expected.push_back(static_cast<float>(sum));
      }
    }
  }
  return expected;
}

}  // namespace winnow
