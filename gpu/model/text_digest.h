#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include <openssl/evp.h>

namespace winnow {

// SHA-256 over a sequence of fields: each text with its length before it, so
// that no two sequences have the same bytes.  Not thread-safe.
class TextDigest {
 public:
  TextDigest();

  // Adds a field: its length as u64 LE, then its bytes.
  void AddText(std::string_view text);
  // Adds a field of fixed length: u64 LE.
  void AddNumber(uint64_t number);
  // The digest.  Ends the object's use.
  std::array<uint8_t, 32> Finish();

 private:
  void AddBytes(std::string_view bytes);

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// SHA-256 of `text` alone.
std::array<uint8_t, 32> Sha256(std::string_view text);

}  // namespace winnow
