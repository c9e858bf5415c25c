#include "gpu/cpu/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "gpu/base/status.h"
#include "gpu/cpu/attention_args.h"
#include "gpu/cpu/reference/tile_element.h"

namespace winnow {
namespace {

// Where one entry of a row lies.
struct Entry {
  const void* tile = nullptr;
  int slot = 0;
};

std::vector<Entry> ListEntries(const AttentionRow& row) {
  std::vector<Entry> entries;
  for (const KvTileRef& ref : row.tiles) {
    for (int slot = 0; slot < ref.count; ++slot) {
      entries.push_back({ref.tile, slot});
    }
  }
  return entries;
}

float KeyDot(const float* query, const Entry& entry, const KvTileShape& shape) {
  float dot = 0;
  for (int dim = 0; dim < shape.head_dim; ++dim) {
    dot += query[dim] * LoadTileElement(entry.tile, shape.dtype,
                                        shape.KeyIndex(entry.slot, dim));
  }
  return dot;
}

float Dot(const float* a, const float* b, int count) {
  float dot = 0;
  for (int i = 0; i < count; ++i) {
    dot += a[i] * b[i];
  }
  return dot;
}

// Turns logits into probabilities.
void Softmax(std::vector<float>& logits) {
  const float max = *std::ranges::max_element(logits);
  double sum = 0;
  for (float& x : logits) {
    x = std::exp(x - max);
    sum += x;
  }
  for (float& x : logits) {
    x = static_cast<float>(x / sum);
  }
}

// Attention of one query over the first `visible` entries of its row and the
// compensation entry, which comes last in the softmax.
void AttendOne(const AttentionArgs& args, const AttentionRow& row,
               std::span<const Entry> visible, int64_t offset) {
  const KvTileShape& shape = args.tile;
  const float* query = row.query + offset;
  float* output = row.output + offset;

  std::vector<float> probs;
  for (const Entry& entry : visible) {
    probs.push_back(args.scale * KeyDot(query, entry, shape));
  }
  if (row.compensation.key != nullptr) {
    const float dot = Dot(query, row.compensation.key, shape.head_dim);
    probs.push_back(args.scale * dot + row.compensation.log_bias);
  }
  Softmax(probs);

  for (int dim = 0; dim < shape.head_dim; ++dim) {
    double sum = 0;
    for (size_t i = 0; i < visible.size(); ++i) {
      sum += double{probs[i]} *
             LoadTileElement(visible[i].tile, shape.dtype,
                             shape.ValueIndex(visible[i].slot, dim));
    }
    if (row.compensation.value != nullptr) {
      sum += double{probs.back()} * row.compensation.value[dim];
    }
    output[dim] = static_cast<float>(sum);
  }
}

}  // namespace

absl::Status ReferenceAttention::Attention(const AttentionArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckAttention(args));
  for (const AttentionRow& row : args.rows) {
    const std::vector<Entry> entries = ListEntries(row);
    for (int t = 0; t < row.num_queries; ++t) {
      const size_t visible = entries.size() - (row.num_queries - 1 - t);
      for (int g = 0; g < args.group; ++g) {
        AttendOne(args, row, std::span(entries).first(visible),
                  t * args.token_stride + int64_t{g} * args.tile.head_dim);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReferenceAttention::AttentionMass(const AttentionMassArgs& args) {
  WINNOW_RETURN_IF_ERROR(CheckAttentionMass(args));
  const std::vector<Entry> entries = ListEntries(args.row);
  const int64_t first_position =
      static_cast<int64_t>(entries.size()) - args.row.num_queries;
  for (int t = 0; t < args.row.num_queries; ++t) {
    const int64_t p = first_position + t;
    if (p < args.first_query) {
      continue;
    }
    for (int g = 0; g < args.group; ++g) {
      const float* query = args.row.query + t * args.token_stride +
                           int64_t{g} * args.tile.head_dim;
      std::vector<float> probs;
      for (int64_t k = 0; k <= p; ++k) {
        probs.push_back(args.scale * KeyDot(query, entries[k], args.tile));
      }
      Softmax(probs);
      for (size_t s = 0; s < args.offsets.size(); ++s) {
        double mass = 0;
        for (int64_t k = p - args.period; k >= 0; k -= args.period) {
          mass += probs[k + args.offsets[s]];
        }
        args.mass[s * args.group + g] += mass;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace winnow
