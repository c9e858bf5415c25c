// Policies from outside: nothing crashes, and one that is accepted reads back
// from its own text.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cache_store/plan/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto policy = winnow::ParsePolicy(
      std::string_view(reinterpret_cast<const char*>(bytes), size));
  if (policy.ok()) {
    const auto again = winnow::ParsePolicy(winnow::FormatPolicy(*policy));
    if (!again.ok() || !(*again == *policy)) {
      std::abort();
    }
  }
  return 0;
}
