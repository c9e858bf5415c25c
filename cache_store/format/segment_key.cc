#include "cache_store/format/segment_key.h"

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace winnow {

std::string SegmentKey::ToHex() const {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace winnow
