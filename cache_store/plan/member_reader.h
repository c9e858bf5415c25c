#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "nlohmann/json.hpp"

namespace winnow {

// Whether a value is a whole number from `low` to `high`.
bool IsIntegerIn(const nlohmann::json& value, int64_t low, int64_t high);

// MemberReader reads the members of an object that is not trusted, each once,
// and remembers the first one that is not as it must be.
//
// A member that is missing or wrong reads as a value within its limits, zero or
// empty, so that the reading goes on; what was read counts only if Finish, or
// status, is OK.
class MemberReader {
 public:
  // `object` outlives the reader; `name` stands before members in messages.
  MemberReader(const nlohmann::json& object, std::string name)
      : object_(object), name_(std::move(name)) {}

  int Int(const char* member, int low, int high);
  double Number(const char* member, double high);  // from 0
  std::string Text(const char* member, size_t most_bytes);
  // 32 bytes in lower-case hexadecimal.
  std::array<uint8_t, 32> Digest(const char* member);
  // An array [rows][columns] of numbers from 0 to `high`; empty if it is none.
  std::vector<float> Matrix(const char* member, int rows, int columns,
                            double high);

  // Null if the member is no object, or no array of at most `most`.
  const nlohmann::json* Object(const char* member);
  const nlohmann::json* Array(const char* member, size_t most);
  // Null if there is no such member.
  const nlohmann::json* Find(const char* member);
  // Asks for nothing.
  bool Has(const char* member) const { return object_.contains(member); }

  // Refuses the object: `member` must be `wanted`.
  void Fail(absl::string_view member, absl::string_view wanted);

  // After all members were read: refuses any that is left over.
  absl::Status Finish();
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  const std::string name_;
  size_t num_asked_ = 0;
  absl::Status status_;
};

}  // namespace winnow
