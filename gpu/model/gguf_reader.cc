#include "gpu/model/gguf_reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"

// GGUF, versions 2 and 3, little-endian
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
//
//   file     := "GGUF" version:u32 tensors:u64 entries:u64
//               entry[entries] tensor[tensors] pad[to alignment] data
//   entry    := key:string type:u32 value
//   tensor   := name:string n:u32 dims:u64[n] type:u32 offset:u64
//   string   := length:u64 bytes
//   value    := number | bool:u8 | string | element:u32 count:u64 value[count]
//
// dims[0] runs along a row; offset counts from `data` and is a multiple of
// general.alignment (32 if there is none).

namespace winnow {
namespace {

// ggml's number of every weight type that Winnow runs.
struct GgmlType {
  uint32_t number;
  WeightType type;
};
constexpr std::array<GgmlType, kNumWeightTypes> kGgmlTypes = {{
    {0, WeightType::kF32},
    {1, WeightType::kF16},
    {2, WeightType::kQ4_0},
    {3, WeightType::kQ4_1},
    {6, WeightType::kQ5_0},
    {7, WeightType::kQ5_1},
    {8, WeightType::kQ8_0},
    {12, WeightType::kQ4_K},
    {13, WeightType::kQ5_K},
    {14, WeightType::kQ6_K},
    {30, WeightType::kBF16},
}};

// Bytes of a number or bool; 0 for strings, arrays and unknown types.
size_t ScalarSize(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

template <typename T>
T Load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// A number or bool of `type` at `bytes`.
GgufValue LoadScalar(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::kU8:
      return int64_t{Load<uint8_t>(bytes)};
    case GgufType::kI8:
      return int64_t{Load<int8_t>(bytes)};
    case GgufType::kU16:
      return int64_t{Load<uint16_t>(bytes)};
    case GgufType::kI16:
      return int64_t{Load<int16_t>(bytes)};
    case GgufType::kU32:
      return int64_t{Load<uint32_t>(bytes)};
    case GgufType::kI32:
      return int64_t{Load<int32_t>(bytes)};
    case GgufType::kU64:
      return Load<uint64_t>(bytes);
    case GgufType::kI64:
      return Load<int64_t>(bytes);
    case GgufType::kF32:
      return double{Load<float>(bytes)};
    case GgufType::kF64:
      return Load<double>(bytes);
    default:
      return Load<uint8_t>(bytes) != 0;
  }
}

// Reads from front to back; never past the end.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  std::span<const std::byte> Since(size_t start) const {
    return bytes_.subspan(start, position_ - start);
  }

  template <typename T>
  absl::StatusOr<T> Read(absl::string_view what) {
    WINNOW_ASSIGN_OR_RETURN(const std::byte* start, Skip(sizeof(T), what));
    return Load<T>(start);
  }

  // Moves past `count` bytes and returns their start.
  absl::StatusOr<const std::byte*> Skip(uint64_t count,
                                        absl::string_view what) {
    if (count > left()) {
      return Error(absl::StrCat(what, " needs ", count, " bytes, but ", left(),
                                " are left: the file is truncated or damaged"));
    }
    const std::byte* start = bytes_.data() + position_;
    position_ += count;
    return start;
  }

  absl::StatusOr<absl::string_view> ReadString(absl::string_view what) {
    WINNOW_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(what));
    if (length > kMaxGgufString) {
      return Error(absl::StrCat(what, " is ", length, " bytes long, over ",
                                kMaxGgufString));
    }
    WINNOW_ASSIGN_OR_RETURN(const std::byte* start, Skip(length, what));
    return absl::string_view(reinterpret_cast<const char*>(start), length);
  }

  absl::Status Error(absl::string_view message) const {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF, byte ", position_, ": ", message));
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

std::string Quoted(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, 100)), "\"");
}

absl::StatusOr<GgufArray> ReadArray(Cursor& cursor, absl::string_view key) {
  WINNOW_ASSIGN_OR_RETURN(const uint32_t type,
                          cursor.Read<uint32_t>("array type"));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t count,
                          cursor.Read<uint64_t>("array count"));
  GgufArray array{
      .element = static_cast<GgufType>(type), .count = count, .bytes = {}};
  if (count > kMaxGgufArray) {
    return cursor.Error(absl::StrCat(Quoted(key), " has ", count,
                                     " elements, over ", kMaxGgufArray));
  }
  const size_t start = cursor.position();
  if (array.element == GgufType::kString) {
    for (uint64_t i = 0; i < count; ++i) {
      WINNOW_RETURN_IF_ERROR(cursor.ReadString(key).status());
    }
  } else if (const size_t size = ScalarSize(array.element); size > 0) {
    WINNOW_RETURN_IF_ERROR(cursor.Skip(count * size, key).status());
  } else {
    return cursor.Error(absl::StrCat(Quoted(key), " is an array of type ", type,
                                     "; only numbers and strings are read"));
  }
  array.bytes = cursor.Since(start);
  return array;
}

absl::StatusOr<GgufValue> ReadValue(Cursor& cursor, absl::string_view key) {
  WINNOW_ASSIGN_OR_RETURN(const uint32_t number,
                          cursor.Read<uint32_t>("value type"));
  const GgufType type = static_cast<GgufType>(number);
  if (type == GgufType::kString) {
    WINNOW_ASSIGN_OR_RETURN(absl::string_view text, cursor.ReadString(key));
    return text;
  }
  if (type == GgufType::kArray) {
    WINNOW_ASSIGN_OR_RETURN(GgufArray array, ReadArray(cursor, key));
    return array;
  }
  const size_t size = ScalarSize(type);
  if (size == 0) {
    return cursor.Error(
        absl::StrCat(Quoted(key), " has unknown type ", number));
  }
  WINNOW_ASSIGN_OR_RETURN(const std::byte* start, cursor.Skip(size, key));
  return LoadScalar(type, start);
}

// A tensor whose bytes are not placed yet.
struct TensorEntry {
  absl::string_view name;
  StoredTensor tensor;
  uint64_t offset = 0;  // from the start of the data
  uint64_t size = 0;    // bytes
};

std::optional<WeightType> TypeOf(uint32_t ggml_type) {
  for (const GgmlType& known : kGgmlTypes) {
    if (known.number == ggml_type) {
      return known.type;
    }
  }
  return std::nullopt;
}

// Number of elements of the tensor, its dimensions read into `shape`.
absl::StatusOr<uint64_t> ReadShape(Cursor& cursor, absl::string_view name,
                                   std::vector<int64_t>& shape) {
  WINNOW_ASSIGN_OR_RETURN(const uint32_t dimensions,
                          cursor.Read<uint32_t>("number of dimensions"));
  if (dimensions == 0 || dimensions > kMaxGgufDimensions) {
    return cursor.Error(absl::StrCat("tensor ", Quoted(name), " has ",
                                     dimensions, " dimensions, not 1 to ",
                                     kMaxGgufDimensions));
  }
  constexpr uint64_t kMaxElements = uint64_t{1} << 40;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    WINNOW_ASSIGN_OR_RETURN(const uint64_t size,
                            cursor.Read<uint64_t>("dimension"));
    if (size == 0 || size > kMaxElements / elements) {
      return cursor.Error(absl::StrCat("dimension ", i, " of tensor ",
                                       Quoted(name), " is ", size,
                                       ", out of range"));
    }
    elements *= size;
    shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(shape.begin(), shape.end());
  return elements;
}

absl::StatusOr<TensorEntry> ReadTensorEntry(Cursor& cursor) {
  TensorEntry entry;
  WINNOW_ASSIGN_OR_RETURN(entry.name, cursor.ReadString("tensor name"));
  WINNOW_ASSIGN_OR_RETURN(const uint64_t elements,
                          ReadShape(cursor, entry.name, entry.tensor.shape));
  WINNOW_ASSIGN_OR_RETURN(const uint32_t number,
                          cursor.Read<uint32_t>("tensor type"));
  WINNOW_ASSIGN_OR_RETURN(entry.offset, cursor.Read<uint64_t>("offset"));
  entry.tensor.type = TypeOf(number);
  if (!entry.tensor.type) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", Quoted(entry.name), " has ggml type ", number,
        "; Winnow runs F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
        "Q5_K and Q6_K"));
  }
  const WeightBlock& block = GetWeightBlock(*entry.tensor.type);
  entry.tensor.type_name = std::string(block.name);
  if (entry.tensor.shape.back() % block.elements != 0) {
    return cursor.Error(absl::StrCat("a row of tensor ", Quoted(entry.name),
                                     " is not a whole number of ",
                                     entry.tensor.type_name, " blocks"));
  }
  entry.size = elements / static_cast<uint64_t>(block.elements) * block.bytes;
  return entry;
}

absl::StatusOr<uint64_t> AlignmentOf(const GgufContents& contents) {
  if (contents.Find("general.alignment") == nullptr) {
    return 32;
  }
  WINNOW_ASSIGN_OR_RETURN(
      const int64_t alignment,
      contents.Integer("general.alignment", 1, int64_t{kMaxGgufAlignment}));
  if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GGUF: general.alignment is ", alignment, ", not a power of two"));
  }
  return static_cast<uint64_t>(alignment);
}

// Gives every tensor its bytes in the file.
absl::Status PlaceTensors(std::span<const std::byte> bytes, Cursor& cursor,
                          std::vector<TensorEntry> entries,
                          GgufContents& contents) {
  WINNOW_ASSIGN_OR_RETURN(const uint64_t alignment, AlignmentOf(contents));
  const uint64_t start =
      (cursor.position() + alignment - 1) / alignment * alignment;
  const uint64_t available = bytes.size() - std::min(start, bytes.size());
  for (TensorEntry& entry : entries) {
    if (entry.offset % alignment != 0) {
      return cursor.Error(absl::StrCat("tensor ", Quoted(entry.name),
                                       " starts at ", entry.offset,
                                       ", not a multiple of ", alignment));
    }
    if (entry.offset > available || entry.size > available - entry.offset) {
      return cursor.Error(absl::StrCat(
          "tensor ", Quoted(entry.name), " needs ", entry.size, " bytes at ",
          entry.offset, ", but the data is ", available,
          " bytes long: the file is truncated or damaged"));
    }
    entry.tensor.bytes = bytes.subspan(start + entry.offset, entry.size);
    if (!contents.tensors
             .try_emplace(std::string(entry.name), std::move(entry.tensor))
             .second) {
      return cursor.Error(
          absl::StrCat("tensor ", Quoted(entry.name), " comes twice"));
    }
  }
  return absl::OkStatus();
}

struct Counts {
  uint64_t tensors = 0;
  uint64_t entries = 0;
};

absl::StatusOr<Counts> ReadHeader(Cursor& cursor, GgufContents& contents) {
  absl::StatusOr<const std::byte*> magic = cursor.Skip(4, "magic");
  if (!magic.ok() || std::memcmp(*magic, "GGUF", 4) != 0) {
    return absl::InvalidArgumentError(
        "not a GGUF file: it does not start with \"GGUF\"");
  }
  WINNOW_ASSIGN_OR_RETURN(contents.version, cursor.Read<uint32_t>("version"));
  if (contents.version != 2 && contents.version != 3) {
    return absl::UnimplementedError(
        absl::StrCat("GGUF version ", contents.version,
                     " (or big-endian); Winnow reads versions 2 and 3, "
                     "little-endian"));
  }
  Counts counts;
  WINNOW_ASSIGN_OR_RETURN(counts.tensors, cursor.Read<uint64_t>("count"));
  WINNOW_ASSIGN_OR_RETURN(counts.entries, cursor.Read<uint64_t>("count"));
  if (std::max(counts.tensors, counts.entries) > kMaxGgufEntries) {
    return cursor.Error(absl::StrCat(counts.tensors, " tensors and ",
                                     counts.entries, " metadata entries; at ",
                                     "most ", kMaxGgufEntries, " of each"));
  }
  return counts;
}

}  // namespace

absl::StatusOr<GgufContents> ReadGguf(std::span<const std::byte> bytes) {
  Cursor cursor(bytes);
  GgufContents contents;
  WINNOW_ASSIGN_OR_RETURN(const Counts counts, ReadHeader(cursor, contents));
  for (uint64_t i = 0; i < counts.entries; ++i) {
    WINNOW_ASSIGN_OR_RETURN(const absl::string_view key,
                            cursor.ReadString("key"));
    WINNOW_ASSIGN_OR_RETURN(GgufValue value, ReadValue(cursor, key));
    if (!contents.metadata.try_emplace(key, value).second) {
      return cursor.Error(absl::StrCat("key ", Quoted(key), " comes twice"));
    }
  }
  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    WINNOW_ASSIGN_OR_RETURN(TensorEntry entry, ReadTensorEntry(cursor));
    entries.push_back(std::move(entry));
  }
  WINNOW_RETURN_IF_ERROR(
      PlaceTensors(bytes, cursor, std::move(entries), contents));
  return contents;
}

}  // namespace winnow
