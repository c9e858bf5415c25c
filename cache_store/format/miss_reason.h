#pragma once

#include <cstdint>
#include <string_view>

namespace winnow {

// Why bytes were not returned.  A miss is a result, never an error, and never
// wrong bytes.
enum class MissReason : uint8_t {
  kNone = 0,     // a hit
  kAbsent,       // never written, or forgotten
  kEvicted,      // was here; a bounded list remembers it
  kExpired,      // the lease that was to protect it has ended
  kCorrupt,      // its bytes fail a check: damaged, cut short, out of order
  kIdentity,     // the bytes belong to another key, shape or kind
  kVersion,      // written by another version of the format
  kUnreachable,  // its shard does not answer
  kTimeout,      // its shard did not answer in time
};
std::string_view MissReasonName(MissReason reason);  // "absent", ...

}  // namespace winnow
