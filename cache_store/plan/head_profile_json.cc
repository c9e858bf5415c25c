// The file of a head profile: one JSON object, see head_profile.h.
//
// Canonical form: compact, members sorted by name, floats as the shortest text
// that reads back to the same float32.  The member "digest" is the SHA-256 of
// that form without itself.
#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"

#include "cache_store/plan/head_profile.h"
#include "cache_store/plan/member_reader.h"
#include "gpu/base/sha256.h"
#include "gpu/base/status.h"
#include "gpu/kv_tile.h"
#include <nlohmann/json.hpp>

namespace winnow {
namespace {

using Json = nlohmann::json;  // sorts members by name

constexpr int kFormatVersion = 1;
constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr int kMaxDepth = 4;                    // the format has 3
constexpr size_t kMaxValues = size_t{8} << 20;  // in a file, of any type
constexpr int kMaxLayers = 1024;
constexpr int kMaxHeads = 1024;
constexpr size_t kMaxCalibrationIds = size_t{1} << 20;
constexpr size_t kMaxNameBytes = 256;
constexpr int kMaxWindow = 1 << 24;
// A score is a mean of probabilities, but sums of them round.
constexpr double kMaxScore = 1.01;
constexpr double kMaxWeight = 1 << 16;

// The double whose shortest text is the shortest text of `value`.
double ShortestDouble(float value) {
  std::array<char, 32> text;
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), value);
  double number = 0;
  std::from_chars(text.data(), end, number);
  // Rounding twice could differ from rounding once, though no value is known.
  return static_cast<float>(number) == value ? number : value;
}

template <typename Value>
Json Rows(int num_rows, int num_columns, const Value& value) {
  Json rows = Json::array();
  for (int row = 0; row < num_rows; ++row) {
    Json columns = Json::array();
    for (int column = 0; column < num_columns; ++column) {
      columns.push_back(ShortestDouble(
          value(static_cast<size_t>(row) * num_columns + column)));
    }
    rows.push_back(std::move(columns));
  }
  return rows;
}

// Everything but the digest.
Json ToJson(const HeadProfile& profile) {
  const int layers = profile.num_layers;
  const int heads = profile.num_heads;
  const int kv_heads = profile.num_kv_heads;
  Json retrieval = Json::array();
  for (size_t head = 0; head < profile.retrieval.size(); ++head) {
    if (profile.retrieval[head]) {
      retrieval.push_back({head / kv_heads, head % kv_heads});
    }
  }
  Json calibration = {{"block", profile.calibration_block},
                      {"repeats", profile.calibration_repeats}};
  if (!profile.calibration_ids.empty()) {
    calibration["ids"] = profile.calibration_ids;
  }
  if (profile.calibration_ids.empty() || profile.calibration_seed != 0) {
    calibration["seed"] = profile.calibration_seed;
  }
  const auto echo = [&](size_t i) { return profile.scores[i].echo; };
  const auto induction = [&](size_t i) { return profile.scores[i].induction; };
  const auto weight = [&](size_t i) { return profile.weights[i]; };
  return {{"format_version", kFormatVersion},
          {"model_digest", ToHex(profile.model_digest)},
          {"model_name", profile.model_name},
          {"num_layers", layers},
          {"num_heads", heads},
          {"num_kv_heads", kv_heads},
          {"echo", Rows(layers, heads, echo)},
          {"induction", Rows(layers, heads, induction)},
          {"rule",
           {{"induction_share", profile.rule.induction_share},
            {"echo_share", profile.rule.echo_share},
            {"echo_min", profile.rule.echo_min}}},
          {"retrieval", std::move(retrieval)},
          {"weights", Rows(layers, kv_heads, weight)},
          {"window", profile.window},
          {"calibration", std::move(calibration)}};
}

std::string Dump(const Json& json) {
  // A name that is no UTF-8 is replaced, not thrown at.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::Status Bad(absl::string_view member, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("head profile: ", member, " must be ", wanted));
}

// Parses without exceptions, recursion, or more than kMaxValues values.
absl::StatusOr<Json> ParseBounded(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return Bad("the file", absl::StrCat("at most ", kMaxFileBytes,
                                        " bytes, not ", text.size()));
  }
  size_t num_values = 0;
  bool too_much = false;
  const auto bound = [&](int depth, Json::parse_event_t event, Json& value) {
    (void)value;
    if (event != Json::parse_event_t::object_end &&
        event != Json::parse_event_t::array_end) {
      too_much = too_much || depth > kMaxDepth || ++num_values > kMaxValues;
    }
    return !too_much;  // what is refused is not stored
  };
  Json json = Json::parse(text, bound, /*allow_exceptions=*/false);
  if (too_much) {
    return Bad("the file", absl::StrCat("at most ", kMaxDepth, " deep and ",
                                        kMaxValues, " values long"));
  }
  if (!json.is_object()) {
    return Bad("the file", "one JSON object");
  }
  return json;
}

// Members "rule" and "calibration".
absl::Status ReadRule(const Json& json, HeadSelectionRule& rule) {
  MemberReader reader(json, "head profile: rule.");
  rule.induction_share = reader.Number("induction_share", 1);
  rule.echo_share = reader.Number("echo_share", 1);
  // Any echo score is below 2: such a minimum switches the rule off.
  rule.echo_min = reader.Number("echo_min", 2);
  return reader.Finish();
}

absl::Status ReadCalibration(const Json& json, HeadProfile& profile) {
  MemberReader reader(json, "head profile: calibration.");
  profile.calibration_block = reader.Int("block", 0, 1 << 24);
  profile.calibration_repeats = reader.Int("repeats", 0, 1 << 24);
  if (reader.Has("ids")) {
    if (const Json* ids = reader.Array("ids", kMaxCalibrationIds)) {
      for (const Json& id : *ids) {
        if (!IsIntegerIn(id, 0, std::numeric_limits<int32_t>::max())) {
          reader.Fail("ids", "token ids");
          break;
        }
        profile.calibration_ids.push_back(id.get<int32_t>());
      }
    }
  }
  if (profile.calibration_ids.empty() || reader.Has("seed")) {
    const Json* seed = reader.Find("seed");
    if (seed == nullptr || !seed->is_number_unsigned()) {
      reader.Fail("seed", "a whole number of 64 bits");
    } else {
      profile.calibration_seed = seed->get<uint64_t>();
    }
  }
  return reader.Finish();
}

absl::Status ReadRetrieval(const Json& list, HeadProfile& profile) {
  absl::Status bad =
      Bad("retrieval", "[layer, KV head] pairs in order, each once");
  size_t next = 0;  // first head that may still come
  for (const Json& pair : list) {
    if (!pair.is_array() || pair.size() != 2 ||
        !IsIntegerIn(pair[0], 0, profile.num_layers - 1) ||
        !IsIntegerIn(pair[1], 0, profile.num_kv_heads - 1)) {
      return bad;
    }
    const size_t head =
        pair[0].get<size_t>() * profile.num_kv_heads + pair[1].get<size_t>();
    if (head < next) {
      return bad;
    }
    profile.retrieval[head] = true;
    next = head + 1;
  }
  return absl::OkStatus();
}

absl::Status ReadShape(MemberReader& reader, HeadProfile& profile) {
  reader.Int("format_version", kFormatVersion, kFormatVersion);
  profile.model_digest = reader.Digest("model_digest");
  profile.model_name = reader.Text("model_name", kMaxNameBytes);
  profile.num_layers = reader.Int("num_layers", 1, kMaxLayers);
  profile.num_heads = reader.Int("num_heads", 1, kMaxHeads);
  profile.num_kv_heads = reader.Int("num_kv_heads", 1, kMaxHeads);
  if (reader.status().ok() && profile.num_heads % profile.num_kv_heads != 0) {
    reader.Fail("num_kv_heads", "a divisor of num_heads");
  }
  profile.window = reader.Int("window", kBlockTokens, kMaxWindow);
  if (profile.window % kBlockTokens != 0) {
    reader.Fail("window", absl::StrCat("a multiple of ", kBlockTokens));
  }
  return reader.status();
}

}  // namespace

std::array<uint8_t, 32> HeadProfile::Digest() const {
  return Sha256(Dump(ToJson(*this)));
}

std::string FormatHeadProfile(const HeadProfile& profile) {
  Json json = ToJson(profile);
  json["digest"] = ToHex(Sha256(Dump(json)));
  return Dump(json) + "\n";
}

absl::StatusOr<HeadProfile> ParseHeadProfile(std::string_view text) {
  WINNOW_ASSIGN_OR_RETURN(const Json json, ParseBounded(text));
  MemberReader reader(json, "head profile: ");
  HeadProfile profile;
  WINNOW_RETURN_IF_ERROR(ReadShape(reader, profile));
  const int layers = profile.num_layers;
  const std::vector<float> echo =
      reader.Matrix("echo", layers, profile.num_heads, kMaxScore);
  const std::vector<float> induction =
      reader.Matrix("induction", layers, profile.num_heads, kMaxScore);
  profile.weights =
      reader.Matrix("weights", layers, profile.num_kv_heads, kMaxWeight);
  const size_t num_kv_heads =
      static_cast<size_t>(layers) * profile.num_kv_heads;
  const Json* rule = reader.Object("rule");
  const Json* retrieval = reader.Array("retrieval", num_kv_heads);
  const Json* calibration = reader.Object("calibration");
  const std::array<uint8_t, 32> digest = reader.Digest("digest");
  WINNOW_RETURN_IF_ERROR(reader.Finish());

  profile.scores.resize(echo.size());
  for (size_t head = 0; head < echo.size(); ++head) {
    profile.scores[head] = {.echo = echo[head], .induction = induction[head]};
  }
  profile.retrieval.resize(num_kv_heads);
  WINNOW_RETURN_IF_ERROR(ReadRule(*rule, profile.rule));
  WINNOW_RETURN_IF_ERROR(ReadRetrieval(*retrieval, profile));
  WINNOW_RETURN_IF_ERROR(ReadCalibration(*calibration, profile));
  if (profile.Digest() != digest) {
    return Bad("digest", absl::StrCat(ToHex(profile.Digest()),
                                      ", the SHA-256 of everything else"));
  }
  return profile;
}

absl::StatusOr<HeadProfile> LoadHeadProfile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("cannot open head profile ", path));
  }
  const std::streamoff size = file.tellg();
  if (size < 0 || static_cast<uint64_t>(size) > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("head profile ", path, " must be a file of at most ",
                     kMaxFileBytes, " bytes"));
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read head profile ", path));
  }
  absl::StatusOr<HeadProfile> profile = ParseHeadProfile(text);
  if (!profile.ok()) {
    return absl::Status(profile.status().code(),
                        absl::StrCat(path, ": ", profile.status().message()));
  }
  return profile;
}

}  // namespace winnow
