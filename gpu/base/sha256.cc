#include "gpu/base/sha256.h"

#include <cstdlib>

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace winnow {
namespace {

void Check(bool ok) {
  if (!ok) {
    std::abort();
  }
}

}  // namespace

void Sha256Hash::Deleter::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256Hash::Sha256Hash() : context_(EVP_MD_CTX_new()) {
  Check(context_ != nullptr &&
        EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

Sha256Hash::~Sha256Hash() = default;

void Sha256Hash::Add(std::span<const std::byte> bytes) {
  Check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256Hash::Finish() {
  Sha256Digest digest;
  Check(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  return digest;
}

Sha256Digest Sha256(std::string_view bytes) {
  Sha256Hash hash;
  hash.Add(bytes);
  return hash.Finish();
}

std::string ToHex(const Sha256Digest& digest) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace winnow
