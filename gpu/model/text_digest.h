#pragma once

#include <cstdint>
#include <string_view>

#include "gpu/base/sha256.h"

namespace winnow {

// SHA-256 over a sequence of fields: each text with its length before it, so
// that no two sequences have the same bytes.  Not thread-safe.
class TextDigest {
 public:
  // Adds a field: its length as u64 LE, then its bytes.
  void AddText(std::string_view text);
  // Adds a field of fixed length: u64 LE.
  void AddNumber(uint64_t number);
  // The digest.  Ends the object's use.
  Sha256Digest Finish() { return hash_.Finish(); }

 private:
  Sha256Hash hash_;
};

}  // namespace winnow
