#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace winnow {

// "64MiB", "1GiB", "4096": bytes, with a binary or decimal unit.
// InvalidArgument says what is allowed.
absl::StatusOr<uint64_t> ParseByteSize(std::string_view text);

// The shortest text with a binary unit that reads back as exactly `bytes`:
// "1GiB", "1536MiB", "1000B".
std::string FormatByteSize(uint64_t bytes);

// "30s", "1h30m", "250ms": a length of time of at least 0.  InvalidArgument
// names the units; a number without one is refused, and so is "inf".  What
// absl::FormatDuration writes for anything but zero reads back.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

}  // namespace winnow
