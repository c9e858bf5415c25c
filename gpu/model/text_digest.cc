#include "gpu/model/text_digest.h"

#include <cstdlib>

namespace winnow {
namespace {

// OpenSSL's digests fail only where memory or the provider is missing; going
// on would put a wrong digest into the cache's keys.
void CheckOpenSsl(bool ok) {
  if (!ok) {
    std::abort();
  }
}

}  // namespace

TextDigest::TextDigest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
  CheckOpenSsl(context_ != nullptr &&
               EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void TextDigest::AddText(std::string_view text) {
  AddNumber(text.size());
  AddBytes(text);
}

void TextDigest::AddNumber(uint64_t number) {
  std::array<char, 8> bytes;
  for (char& byte : bytes) {
    byte = static_cast<char>(number & 0xFF);
    number >>= 8;
  }
  AddBytes(std::string_view(bytes.data(), bytes.size()));
}

void TextDigest::AddBytes(std::string_view bytes) {
  CheckOpenSsl(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) ==
               1);
}

std::array<uint8_t, 32> TextDigest::Finish() {
  std::array<uint8_t, 32> digest;
  CheckOpenSsl(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  return digest;
}

std::array<uint8_t, 32> Sha256(std::string_view text) {
  std::array<uint8_t, 32> digest;
  CheckOpenSsl(EVP_Digest(text.data(), text.size(), digest.data(), nullptr,
                          EVP_sha256(), nullptr) == 1);
  return digest;
}

}  // namespace winnow
