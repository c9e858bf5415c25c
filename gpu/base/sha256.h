#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's

namespace winnow {

using Sha256Digest = std::array<uint8_t, 32>;

// SHA-256 over bytes as they come.  Not thread-safe.
//
// OpenSSL's digests fail only where memory or its provider is missing; the
// process ends then, because a wrong digest would be a wrong key.
class Sha256Hash {
 public:
  Sha256Hash();
  ~Sha256Hash();

  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view bytes) {
    Add(std::as_bytes(std::span<const char>(bytes.data(), bytes.size())));
  }
  // The digest.  Ends the object's use.
  Sha256Digest Finish();

 private:
  struct Deleter {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Deleter> context_;
};

// SHA-256 of `bytes`.
Sha256Digest Sha256(std::string_view bytes);

// 64 lower-case hexadecimal digits.
std::string ToHex(const Sha256Digest& digest);

}  // namespace winnow
