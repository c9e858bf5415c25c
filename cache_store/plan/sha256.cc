#include "cache_store/plan/sha256.h"

#include <cstdlib>

#include <openssl/evp.h>

namespace winnow {

std::array<uint8_t, 32> Sha256Of(std::string_view bytes) {
  std::array<uint8_t, 32> digest;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr,
                 EVP_sha256(), nullptr) != 1) {
    std::abort();  // only without memory; a wrong digest would be wrong bytes
  }
  return digest;
}

}  // namespace winnow
