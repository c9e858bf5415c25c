#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace winnow {

// Exit codes of the program (README, "Exit codes").
enum ExitCode : uint8_t {
  kExitOk = 0,
  kExitInternal = 1,            // a bug, or an error with no code of its own
  kExitUsage = 2,               // unknown option, INVALID_ARGUMENT
  kExitNotFound = 3,            // NOT_FOUND: a file, a model
  kExitOutOfRange = 4,          // OUT_OF_RANGE: prompt too long
  kExitFailedPrecondition = 5,  // FAILED_PRECONDITION: profile missing or of
                                // another model
  kExitResourceExhausted = 6,   // RESOURCE_EXHAUSTED: store full
  kExitUnimplemented = 7,       // UNIMPLEMENTED: a format Winnow does not run
  kExitUnavailable = 8,         // ABORTED, UNAVAILABLE, DATA_LOSS: cache or
                                // server lost; CANCELLED, DEADLINE_EXCEEDED
};

ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace winnow
