#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "gpu/model/stored_tensor.h"

namespace winnow {

// Type of a metadata value, with the numbers of the format.
// NOLINTNEXTLINE(performance-enum-size): as wide as in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// An array of numbers or strings, left where it lies in the file.
struct GgufArray {
  GgufType element = GgufType::kU8;  // not kArray
  uint64_t count = 0;                // at most kMaxGgufArray
  std::span<const std::byte> bytes;  // the elements, checked to be whole
};

// A metadata value; every integer type widens to int64_t or uint64_t (kU64).
using GgufValue =
    std::variant<bool, int64_t, uint64_t, double, absl::string_view, GgufArray>;

// The parts of a GGUF file, borrowing the bytes they were read from.
struct GgufContents {
  uint32_t version = 0;  // 2 or 3
  absl::flat_hash_map<absl::string_view, GgufValue> metadata;
  TensorTable tensors;

  // The value of `key`, or null if there is none.
  const GgufValue* Find(absl::string_view key) const;
  // An integer in [minimum, maximum].  NotFound if there is no such key,
  // InvalidArgument if the value is of another kind or out of range.
  absl::StatusOr<int64_t> Integer(absl::string_view key, int64_t minimum,
                                  int64_t maximum) const;
  absl::StatusOr<double> Number(absl::string_view key) const;
  absl::StatusOr<absl::string_view> String(absl::string_view key) const;
  absl::StatusOr<bool> Bool(absl::string_view key) const;
  // The elements of an array of strings, or of 32-bit integers.
  absl::StatusOr<std::vector<absl::string_view>> Strings(
      absl::string_view key) const;
  absl::StatusOr<std::vector<int32_t>> Integers(absl::string_view key) const;
};

// Limits of what is read, far above any model's file.
inline constexpr uint64_t kMaxGgufEntries = 1 << 16;  // keys, and tensors
inline constexpr uint64_t kMaxGgufString = 1 << 24;   // bytes
inline constexpr uint64_t kMaxGgufArray = 1 << 23;    // elements
inline constexpr uint64_t kMaxGgufAlignment = 1 << 20;
inline constexpr uint32_t kMaxGgufDimensions = 4;

// Reads the metadata and the table of tensors of a GGUF file, version 2 or 3,
// little-endian.  Only those pages are touched.  Every count, length and
// offset is checked against what is left of `bytes` before it is used; nothing
// is allocated that is larger than the file says in bytes of its own.
//
// InvalidArgument with the field and the byte for anything else; Unimplemented
// for another version or a weight type that Winnow does not run.
absl::StatusOr<GgufContents> ReadGguf(std::span<const std::byte> bytes);

}  // namespace winnow
