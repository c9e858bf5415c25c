#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "gpu/backend.h"
#include "gpu/model/model.h"

namespace winnow {

// A text that makes retrieval heads show themselves: `block` distinct random
// tokens, repeated (RazorAttention, section 3.1).
struct CalibrationText {
  std::vector<int32_t> ids;  // block * repeats
  int block = 0;             // K
  int repeats = 0;           // R, at least 2
};

// K = 500 for models whose context limit is at most 16,384 and 2,500 beyond,
// R = 4: measured, longer blocks drown small models in noise.  Tokens are
// normal entries of the vocabulary, drawn by (seed, counter).
//
// InvalidArgument if the vocabulary has fewer than `block` normal tokens or
// the text is longer than the model's context limit.
absl::StatusOr<CalibrationText> MakeCalibrationText(const Model& model,
                                                    int block, int repeats,
                                                    uint64_t seed);
int DefaultCalibrationBlock(int context_limit);
inline constexpr int kDefaultCalibrationRepeats = 4;

// Scores of every query head, [layer * num_heads + head].
struct HeadScoreTable {
  std::vector<float> echo;
  std::vector<float> induction;
};

// Mean over the last (repeats - 1) * block positions of the attention
// probability that a head gives to all earlier occurrences of the same token
// (echo), and to the tokens right after each of them (induction).
//
// Keys and values are held in float32; for scores that agree with a float32
// reference the backend must be in float32 mode too.  Memory: the text's
// float32 KV and a chunk's activations.
absl::StatusOr<HeadScoreTable> ScoreHeads(Backend& backend, const Model& model,
                                          const CalibrationText& text);

}  // namespace winnow
