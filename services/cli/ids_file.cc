#include "services/cli/ids_file.h"

#include <limits>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/cli/options.h"
#include <nlohmann/json.hpp>

namespace winnow {
namespace {

constexpr size_t kMaxIdsFileBytes = size_t{16} << 20;
constexpr int kMaxDepth = 8;

}  // namespace

absl::StatusOr<std::vector<int32_t>> ReadIdsFile(const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const std::string text,
                          ReadTextFile(path, kMaxIdsFileBytes));
  bool too_deep = false;
  const auto json = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        too_deep = too_deep || depth > kMaxDepth;
        return !too_deep;
      },
      /*allow_exceptions=*/false);
  const nlohmann::json* ids = &json;
  if (json.is_object() && json.contains("ids")) {
    ids = &json["ids"];
  }
  if (too_deep || !ids->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is neither a JSON array of ids nor an object with \"ids\""));
  }
  std::vector<int32_t> values;
  for (const auto& id : *ids) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": id ", values.size(), " is not a token id"));
    }
    values.push_back(id.get<int32_t>());
  }
  return values;
}

}  // namespace winnow
