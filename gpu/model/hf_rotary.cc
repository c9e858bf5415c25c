#include "gpu/model/hf_rotary.h"

#include <cmath>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/model/bounded_json.h"
#include "gpu/model/rotary_frequencies.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

// A positive, finite number, or `otherwise` if there is none.
absl::StatusOr<double> PositiveOr(const Json& object, absl::string_view field,
                                  std::optional<double> otherwise) {
  const Json* value = FindMember(object, field);
  if (value == nullptr && otherwise) {
    return *otherwise;
  }
  const double number =
      value != nullptr && value->is_number() ? value->get<double>() : 0;
  if (!(number > 0) || !std::isfinite(number)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json: rotary ", field, " is not a positive number"));
  }
  return number;
}

// Nothing of the head is left unrotated.
absl::Status RefusePartial(const Json& object) {
  WINNOW_ASSIGN_OR_RETURN(const double share,
                          PositiveOr(object, "partial_rotary_factor", 1));
  return share == 1
             ? absl::OkStatus()
             : absl::UnimplementedError(
                   "config.json: partial_rotary_factor is not 1: partial "
                   "rotary embedding");
}

absl::Status ReadLlama3(const Json& scaling, RotaryParameters& rotary) {
  rotary.scaling = RotaryScaling::kLlama3;
  WINNOW_ASSIGN_OR_RETURN(rotary.factor, PositiveOr(scaling, "factor", {}));
  WINNOW_ASSIGN_OR_RETURN(rotary.low_freq_factor,
                          PositiveOr(scaling, "low_freq_factor", {}));
  WINNOW_ASSIGN_OR_RETURN(rotary.high_freq_factor,
                          PositiveOr(scaling, "high_freq_factor", {}));
  WINNOW_ASSIGN_OR_RETURN(
      rotary.original_context,
      PositiveOr(scaling, "original_max_position_embeddings", {}));
  if (rotary.high_freq_factor <= rotary.low_freq_factor) {
    return absl::InvalidArgumentError(
        "config.json: high_freq_factor is not above low_freq_factor");
  }
  return absl::OkStatus();
}

absl::Status ReadScaling(const Json& scaling, RotaryParameters& rotary) {
  const std::string* type = FindString(scaling, "rope_type");
  if (type == nullptr) {
    type = FindString(scaling, "type");  // the first spelling
  }
  if (type == nullptr || *type == "default") {
    return absl::OkStatus();
  }
  if (*type == "llama3") {
    return ReadLlama3(scaling, rotary);
  }
  if (*type == "linear") {
    rotary.scaling = RotaryScaling::kLinear;
    WINNOW_ASSIGN_OR_RETURN(rotary.factor, PositiveOr(scaling, "factor", {}));
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat(
      "config.json: rope_type is \"", absl::CHexEscape(type->substr(0, 100)),
      "\"; Winnow runs default, linear and llama3"));
}

}  // namespace

absl::Status ReadHfRotary(const Json& config, ModelConfig& model) {
  RotaryParameters rotary;
  rotary.head_dim = model.head_dim;
  rotary.pairs = RotaryPairs::kHalves;
  WINNOW_RETURN_IF_ERROR(RefusePartial(config));
  WINNOW_ASSIGN_OR_RETURN(rotary.theta,
                          PositiveOr(config, "rope_theta", 10000));
  const Json* scaling = FindMember(config, "rope_parameters");
  if (scaling == nullptr) {
    scaling = FindMember(config, "rope_scaling");
  }
  if (scaling != nullptr) {
    if (!scaling->is_object()) {
      return absl::InvalidArgumentError(
          "config.json: rope_parameters or rope_scaling is not an object");
    }
    WINNOW_RETURN_IF_ERROR(RefusePartial(*scaling));
    WINNOW_ASSIGN_OR_RETURN(rotary.theta,
                            PositiveOr(*scaling, "rope_theta", rotary.theta));
    WINNOW_RETURN_IF_ERROR(ReadScaling(*scaling, rotary));
  }
  return SetRotary(rotary, model);
}

}  // namespace winnow
