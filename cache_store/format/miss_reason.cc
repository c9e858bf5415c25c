#include "cache_store/format/miss_reason.h"

namespace winnow {

std::string_view MissReasonName(MissReason reason) {
  switch (reason) {
    case MissReason::kNone:
      return "none";
    case MissReason::kAbsent:
      return "absent";
    case MissReason::kEvicted:
      return "evicted";
    case MissReason::kExpired:
      return "expired";
    case MissReason::kCorrupt:
      return "corrupt";
    case MissReason::kIdentity:
      return "identity";
    case MissReason::kVersion:
      return "version";
    case MissReason::kUnreachable:
      return "unreachable";
    case MissReason::kTimeout:
      return "timeout";
  }
  return "invalid";  // a cast from outside, not an enumerator
}

}  // namespace winnow
