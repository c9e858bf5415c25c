#include "cache_store/format/segment_key.h"

#include <string_view>

#include "absl/strings/escaping.h"

namespace winnow {

std::string SegmentKey::ToHex() const {
  return absl::BytesToHexString(std::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace winnow
