#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "gpu/model/model.h"
#include "gpu/model/model_config.h"
#include "gpu/model/stored_tensor.h"

namespace winnow {

// What a file format calls the tensors of a transformer.  Those of a layer are
// found at "<layer_prefix><index>.<name>.weight", or ".bias".
struct WeightNames {
  absl::string_view embedding;
  absl::string_view final_norm;
  absl::string_view output;
  absl::string_view layer_prefix;
  absl::string_view attention_norm;
  absl::string_view query;
  absl::string_view key;
  absl::string_view value;
  absl::string_view query_norm;
  absl::string_view key_norm;
  absl::string_view attention_output;
  absl::string_view feed_forward_norm;
  absl::string_view gate;
  absl::string_view up;
  absl::string_view down;
};

// Float32 vectors that could not be used in place.  Moves keep the pointers.
using OwnedVectors = std::vector<std::unique_ptr<float[]>>;

// The vector `name` of `count` elements: in place where it is float32 and
// aligned, else converted and added to `owned`.  Null where there is no such
// tensor and `required` is false; else InvalidArgument.
struct VectorQuery {
  std::string name;
  int64_t count = 0;
  bool required = true;
};
absl::StatusOr<const float*> FindVector(const TensorTable& tensors,
                                        const VectorQuery& query,
                                        OwnedVectors& owned);

// Looks up every weight of a transformer of shape `config`, checking shapes
// and types.  Without a tensor `names.output`, or if `tied`, the output is the
// embedding.
//
// InvalidArgument if a tensor is missing or has another shape; Unimplemented
// for an element type that Winnow does not run, and for any further tensor in
// the file: the model would compute something that Winnow does not.
absl::StatusOr<ModelWeights> AssembleWeights(const ModelConfig& config,
                                             const WeightNames& names,
                                             bool tied,
                                             const TensorTable& tensors,
                                             OwnedVectors& owned);

// Checks that a configuration is one that Winnow runs: sizes in range, heads
// in whole groups, head dimension a multiple of 16.  InvalidArgument or
// Unimplemented; names the field.
absl::Status CheckModelConfig(const ModelConfig& config);

}  // namespace winnow
