#include "gpu/model/safetensors_reader.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/model/bounded_json.h"

// Safetensors, little-endian
// (https://github.com/huggingface/safetensors, README, "Format"):
//
//   file   := length:u64 header:u8[length] data
//   header := JSON object, name -> {"dtype", "shape", "data_offsets": [b, e]}
//             and optionally "__metadata__"; offsets count from `data`

namespace winnow {
namespace {

using Json = nlohmann::json;

struct ElementType {
  absl::string_view name;
  uint64_t bytes;
  std::optional<WeightType> type;
};
constexpr std::array<ElementType, 15> kElementTypes = {{
    {"F32", 4, WeightType::kF32},
    {"F16", 2, WeightType::kF16},
    {"BF16", 2, WeightType::kBF16},
    {"F64", 8, std::nullopt},
    {"I64", 8, std::nullopt},
    {"U64", 8, std::nullopt},
    {"I32", 4, std::nullopt},
    {"U32", 4, std::nullopt},
    {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},
    {"I8", 1, std::nullopt},
    {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},
}};

struct Range {
  uint64_t begin;
  uint64_t end;
};

absl::Status TensorError(absl::string_view name, absl::string_view message) {
  return absl::InvalidArgumentError(
      absl::StrCat("safetensors: tensor ",
                   absl::CHexEscape(name.substr(0, 100)), " ", message));
}

// The element at `index` of an array of unsigned numbers.
absl::StatusOr<uint64_t> UnsignedAt(const Json& array, size_t index,
                                    absl::string_view name) {
  const auto* value = array[index].get_ptr<const Json::number_unsigned_t*>();
  if (value == nullptr) {
    return TensorError(name, "has a number that is not a count");
  }
  return *value;
}

// Fills tensor.shape; the result is the number of elements.
absl::StatusOr<uint64_t> ReadShape(const Json& entry, absl::string_view name,
                                   StoredTensor& tensor) {
  const Json* shape = FindMember(entry, "shape");
  if (shape == nullptr || !shape->is_array() ||
      shape->size() > kMaxSafetensorsDimensions) {
    return TensorError(name, "has no \"shape\" of at most 8 dimensions");
  }
  constexpr uint64_t kMaxElements = uint64_t{1} << 40;
  uint64_t elements = 1;
  for (size_t i = 0; i < shape->size(); ++i) {
    WINNOW_ASSIGN_OR_RETURN(const uint64_t size, UnsignedAt(*shape, i, name));
    if (size > kMaxElements / std::max<uint64_t>(elements, 1)) {
      return TensorError(name, "is too large");
    }
    elements *= size;
    tensor.shape.push_back(static_cast<int64_t>(size));
  }
  return elements;
}

absl::StatusOr<Range> ReadOffsets(const Json& entry, absl::string_view name,
                                  uint64_t available) {
  const Json* offsets = FindMember(entry, "data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return TensorError(name, "has no \"data_offsets\" of two numbers");
  }
  WINNOW_ASSIGN_OR_RETURN(const uint64_t begin, UnsignedAt(*offsets, 0, name));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t end, UnsignedAt(*offsets, 1, name));
  if (begin > end || end > available) {
    return TensorError(
        name, absl::StrCat("lies at [", begin, ", ", end, "), but the data is ",
                           available,
                           " bytes long: the file is truncated or "
                           "damaged"));
  }
  return Range{begin, end};
}

absl::StatusOr<Range> ReadTensor(const Json& entry, absl::string_view name,
                                 std::span<const std::byte> data,
                                 StoredTensor& tensor) {
  const std::string* dtype = FindString(entry, "dtype");
  if (dtype == nullptr) {
    return TensorError(name, "has no \"dtype\"");
  }
  const auto* type =
      std::ranges::find(kElementTypes, *dtype, &ElementType::name);
  if (type == kElementTypes.end()) {
    return absl::UnimplementedError(absl::StrCat(
        "safetensors: tensor ", absl::CHexEscape(name.substr(0, 100)),
        " has dtype ", absl::CHexEscape(dtype->substr(0, 100)),
        "; Winnow runs F32, F16 and BF16"));
  }
  tensor.type = type->type;
  tensor.type_name = std::string(type->name);
  WINNOW_ASSIGN_OR_RETURN(const uint64_t elements,
                          ReadShape(entry, name, tensor));
  WINNOW_ASSIGN_OR_RETURN(const Range range,
                          ReadOffsets(entry, name, data.size()));
  if (range.end - range.begin != elements * type->bytes) {
    return TensorError(name, "has another length than its shape says");
  }
  tensor.bytes = data.subspan(range.begin, range.end - range.begin);
  return range;
}

// Tensors must tile the data: a hole or overlap hides bytes or shares them.
absl::Status CheckTiling(std::vector<Range> ranges, uint64_t available) {
  std::ranges::sort(ranges, {}, [](const Range& range) {
    return std::pair(range.begin, range.end);
  });
  uint64_t end = 0;
  for (const Range& range : ranges) {
    if (range.begin != end) {
      return absl::InvalidArgumentError(absl::StrCat(
          "safetensors: hole or overlap at byte ", end, " of the data"));
    }
    end = range.end;
  }
  if (end != available) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: the tensors end at byte ", end,
                     " of the data, which is ", available, " bytes long"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadSafetensors(std::span<const std::byte> bytes,
                             TensorTable& tensors) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) {
    return absl::InvalidArgumentError(
        "not a safetensors file: it is shorter than 8 bytes");
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  const std::span<const std::byte> rest = bytes.subspan(sizeof(length));
  if (length > rest.size() || length > kMaxSafetensorsHeader) {
    return absl::InvalidArgumentError(absl::StrCat(
        "safetensors: a header of ", length, " bytes does not fit into ",
        rest.size(), " bytes (at most ", kMaxSafetensorsHeader,
        "): the file is truncated or no safetensors file"));
  }
  WINNOW_ASSIGN_OR_RETURN(
      const Json header,
      ParseBoundedJson(rest.first(length), "safetensors header",
                       {.max_bytes = kMaxSafetensorsHeader, .max_depth = 4}));
  if (!header.is_object()) {
    return absl::InvalidArgumentError(
        "safetensors: the header is not a JSON object");
  }
  const std::span<const std::byte> data = rest.subspan(length);
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    StoredTensor tensor;
    WINNOW_ASSIGN_OR_RETURN(const Range range,
                            ReadTensor(entry, name, data, tensor));
    ranges.push_back(range);
    if (!tensors.try_emplace(name, std::move(tensor)).second) {
      return TensorError(name, "comes twice");
    }
  }
  return CheckTiling(std::move(ranges), data.size());
}

absl::StatusOr<std::vector<std::string>> ReadShardNames(
    std::span<const std::byte> index_json) {
  WINNOW_ASSIGN_OR_RETURN(
      const Json index,
      ParseBoundedJson(index_json, "model.safetensors.index.json",
                       {.max_bytes = kMaxSafetensorsHeader, .max_depth = 4}));
  const Json* weight_map = FindMember(index, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return absl::InvalidArgumentError(
        "model.safetensors.index.json has no \"weight_map\"");
  }
  std::set<std::string> names;
  for (const Json& value : *weight_map) {
    const auto* name = value.get_ptr<const std::string*>();
    if (name == nullptr || !absl::EndsWith(*name, ".safetensors") ||
        absl::StrContains(*name, '/') || name->find('\0') != name->npos ||
        absl::StartsWith(*name, ".")) {
      return absl::InvalidArgumentError(
          "model.safetensors.index.json names a shard that is not a plain "
          "\"*.safetensors\" of the same folder");
    }
    names.insert(*name);
    if (names.size() > kMaxSafetensorsShards) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.safetensors.index.json names more than ",
                       kMaxSafetensorsShards, " files"));
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace winnow
