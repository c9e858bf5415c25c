#include "gpu/model/head_scoring.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/counter_random.h"
#include "gpu/base/status.h"
#include "gpu/model/transformer.h"

namespace winnow {
namespace {

constexpr int kChunkTokens = 512;
constexpr std::array<int, 2> kOffsets = {0, 1};  // echo, induction

// Adds up the masses of every row that attention is about to read.
class MassObserver final : public AttentionObserver {
 public:
  MassObserver(Backend& backend, const ModelConfig& config, int block)
      : backend_(backend),
        group_(config.group()),
        num_heads_(config.num_heads),
        num_kv_heads_(config.num_kv_heads),
        block_(block),
        echo_(static_cast<size_t>(config.num_layers) * config.num_heads),
        induction_(echo_.size()) {}

  absl::Status Observe(int layer, const AttentionArgs& args) override {
    std::vector<double> mass(kOffsets.size() * group_);
    for (int head = 0; head < num_kv_heads_; ++head) {
      std::fill(mass.begin(), mass.end(), 0);
      WINNOW_RETURN_IF_ERROR(
          backend_.AttentionMass({.row = args.rows[head],
                                  .tile = args.tile,
                                  .group = group_,
                                  .token_stride = args.token_stride,
                                  .scale = args.scale,
                                  .period = block_,
                                  .offsets = kOffsets,
                                  .first_query = block_,
                                  .mass = mass.data()}));
      const size_t first =
          static_cast<size_t>(layer) * num_heads_ + head * group_;
      for (int g = 0; g < group_; ++g) {
        echo_[first + g] += mass[g];
        induction_[first + g] += mass[group_ + g];
      }
    }
    return absl::OkStatus();
  }

  HeadScoreTable Scores(int64_t num_queries) const {
    HeadScoreTable table;
    const auto count = static_cast<double>(num_queries);
    for (size_t i = 0; i < echo_.size(); ++i) {
      table.echo.push_back(static_cast<float>(echo_[i] / count));
      table.induction.push_back(static_cast<float>(induction_[i] / count));
    }
    return table;
  }

 private:
  Backend& backend_;
  const int group_;
  const int num_heads_;
  const int num_kv_heads_;
  const int block_;
  std::vector<double> echo_;
  std::vector<double> induction_;
};

absl::StatusOr<std::unique_ptr<KvSequence>> Float32Sequence(
    Backend& backend, const ModelConfig& config, int64_t max_tokens) {
  const size_t rows =
      static_cast<size_t>(config.num_layers) * config.num_kv_heads;
  return KvSequence::Create(backend, {.num_layers = config.num_layers,
                                      .num_kv_heads = config.num_kv_heads,
                                      .tile = {.head_dim = config.head_dim,
                                               .dtype = KvDtype::kFloat32},
                                      .local = std::vector<bool>(rows, false),
                                      .weights = std::vector<float>(rows, 0),
                                      .max_tokens = max_tokens});
}

}  // namespace

int DefaultCalibrationBlock(int context_limit) {
  return context_limit <= 16384 ? 500 : 2500;
}

absl::StatusOr<CalibrationText> MakeCalibrationText(const Model& model,
                                                    int block, int repeats,
                                                    uint64_t seed) {
  if (block < 2 || repeats < 2) {
    return absl::InvalidArgumentError(
        "calibration needs a block of 2 tokens or more, repeated twice or "
        "more");
  }
  if (int64_t{block} * repeats > model.config().context_limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(block, " tokens repeated ", repeats,
                     " times are more than the model's context of ",
                     model.config().context_limit, "; choose a smaller block"));
  }
  const TokenizerSource& source = model.tokenizer_source();
  std::vector<int32_t> candidates;
  for (int32_t id = 0; id < model.config().vocabulary; ++id) {
    const bool known = static_cast<size_t>(id) < source.kinds.size();
    if (!known || source.kinds[id] == TokenKind::kNormal) {
      candidates.push_back(id);
    }
  }
  if (candidates.size() < static_cast<size_t>(block)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vocabulary has ", candidates.size(),
                     " normal tokens, fewer than a block of ", block));
  }
  // Fisher and Yates, as far as needed.
  for (int i = 0; i < block; ++i) {
    const size_t left = candidates.size() - i;
    std::swap(candidates[i], candidates[i + RandomAt(seed, i) % left]);
  }
  CalibrationText text{.ids = {}, .block = block, .repeats = repeats};
  for (int repeat = 0; repeat < repeats; ++repeat) {
    text.ids.insert(text.ids.end(), candidates.begin(),
                    candidates.begin() + block);
  }
  return text;
}

absl::StatusOr<HeadScoreTable> ScoreHeads(Backend& backend, const Model& model,
                                          const CalibrationText& text) {
  const ModelConfig& config = model.config();
  const auto num_tokens = std::ssize(text.ids);
  if (num_tokens != int64_t{text.block} * text.repeats || text.repeats < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a calibration text of ", num_tokens, " ids is not ",
                     text.block, " tokens repeated ", text.repeats, " times"));
  }
  WINNOW_ASSIGN_OR_RETURN(auto transformer,
                          Transformer::Create(backend, model, kChunkTokens));
  WINNOW_ASSIGN_OR_RETURN(auto sequence,
                          Float32Sequence(backend, config, num_tokens));
  MassObserver observer(backend, config, text.block);
  const std::span<const int32_t> ids(text.ids);
  for (int64_t begin = 0; begin < num_tokens; begin += kChunkTokens) {
    const int64_t count = std::min<int64_t>(kChunkTokens, num_tokens - begin);
    const SequenceChunk chunk = {.sequence = sequence.get(),
                                 .ids = ids.subspan(begin, count)};
    WINNOW_RETURN_IF_ERROR(transformer->Forward({&chunk, 1}, &observer));
  }
  return observer.Scores(num_tokens - text.block);
}

}  // namespace winnow
