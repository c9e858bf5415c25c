#include "cache_store/plan/member_reader.h"

#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

bool IsNumberUpTo(const Json& value, double high) {
  return value.is_number() && value.get<double>() >= 0 &&
         value.get<double>() <= high;
}

}  // namespace

bool IsIntegerIn(const Json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) {
    return false;
  }
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() >
          static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return false;
  }
  return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

int MemberReader::Int(const char* member, int low, int high) {
  const Json* value = Find(member);
  if (value == nullptr || !IsIntegerIn(*value, low, high)) {
    Fail(member, absl::StrCat("a whole number from ", low, " to ", high));
    return low;
  }
  return value->get<int>();
}

double MemberReader::Number(const char* member, double high) {
  const Json* value = Find(member);
  if (value == nullptr || !IsNumberUpTo(*value, high)) {
    Fail(member, absl::StrCat("a number from 0 to ", high));
    return 0;
  }
  return value->get<double>();
}

std::string MemberReader::Text(const char* member, size_t most_bytes) {
  const Json* value = Find(member);
  if (value == nullptr || !value->is_string() ||
      value->get_ref<const std::string&>().size() > most_bytes) {
    Fail(member, absl::StrCat("a string of at most ", most_bytes, " bytes"));
    return "";
  }
  return value->get<std::string>();
}

std::array<uint8_t, 32> MemberReader::Digest(const char* member) {
  std::array<uint8_t, 32> digest{};
  const std::string hex = Text(member, 2 * digest.size());
  const bool is_hex =
      hex.size() == 2 * digest.size() &&
      hex.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hex) {
    Fail(member, "64 lower-case hexadecimal digits");
    return digest;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::ranges::copy(bytes, digest.begin());
  return digest;
}

std::vector<float> MemberReader::Matrix(const char* member, int rows,
                                        int columns, double high) {
  const Json* value = Find(member);
  const std::string wanted =
      absl::StrCat("[", rows, "][", columns, "] numbers from 0 to ", high);
  std::vector<float> numbers;
  if (value == nullptr || !value->is_array() ||
      value->size() != static_cast<size_t>(rows)) {
    Fail(member, wanted);
    return numbers;
  }
  for (const Json& row : *value) {
    if (!row.is_array() || row.size() != static_cast<size_t>(columns)) {
      Fail(member, wanted);
      return {};
    }
    for (const Json& number : row) {
      if (!IsNumberUpTo(number, high)) {
        Fail(member, wanted);
        return {};
      }
      numbers.push_back(number.get<float>());
    }
  }
  return numbers;
}

const Json* MemberReader::Object(const char* member) {
  const Json* value = Find(member);
  if (value == nullptr || !value->is_object()) {
    Fail(member, "an object");
    return nullptr;
  }
  return value;
}

const Json* MemberReader::Array(const char* member, size_t most) {
  const Json* value = Find(member);
  if (value == nullptr || !value->is_array() || value->size() > most) {
    Fail(member, absl::StrCat("an array of at most ", most));
    return nullptr;
  }
  return value;
}

const Json* MemberReader::Find(const char* member) {
  ++num_asked_;
  const auto found = object_.find(member);
  if (found == object_.end()) {
    Fail(member, "there");
    return nullptr;
  }
  return &*found;
}

void MemberReader::Fail(absl::string_view member, absl::string_view wanted) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat(name_, member, " must be ", wanted));
  }
}

absl::Status MemberReader::Finish() {
  if (status_.ok() && object_.size() != num_asked_) {
    Fail("the object", "without unknown members");
  }
  return status_;
}

}  // namespace winnow
