#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace winnow {

// What a benchmark must say about the machine that it ran on.

// "model name" of /proc/cpuinfo; "unknown" if there is none.
std::string CpuModelName();

// Memory of this process that is resident.
struct ResidentMemory {
  uint64_t total_bytes = 0;      // VmRSS
  uint64_t anonymous_bytes = 0;  // RssAnon
  uint64_t file_bytes = 0;       // RssFile: mapped files, such as the weights
};

// Unavailable where the system does not say, or there is no such process.
absl::StatusOr<ResidentMemory> ReadResidentMemory(
    const std::string& pid = "self");
// From the content of /proc/self/status; nothing if a field is missing.
std::optional<ResidentMemory> ParseResidentMemory(std::string_view status);

// Busy ticks of all cores since the start, from the content of /proc/stat:
// user, nice, system, irq and softirq.  Time stolen by a hypervisor is not in
// it.  Nothing for what is not such a file.
std::optional<int64_t> ParseBusyTicks(std::string_view stat);

// User and system time of another process; zero if there is none.
absl::Duration CpuTimeOf(int pid);

// Cores that other processes kept busy, on average, since the meter was made.
class LoadMeter {
 public:
  // `children` gives the CPU time of processes that do not count as others;
  // empty: there are none.  It outlives the meter.
  explicit LoadMeter(std::function<absl::Duration()> children = {});

  // At least 0; 0 where the system does not say.  Ticks are of 10 ms: times
  // below 0.1 s tell little.
  double OtherCores() const;

 private:
  absl::Duration OwnTime() const;

  std::function<absl::Duration()> children_;
  absl::Time started_;
  absl::Duration own_;
  std::optional<int64_t> busy_ticks_;
};

// Other processes on fewer cores than this do not disturb a measurement.
inline constexpr double kQuietCores = 0.1;

// Waits, `limit` at most, for a moment in which other processes keep fewer
// than `cores` cores busy.  Returns whether there was one.
bool WaitUntilQuiet(double cores, absl::Duration limit);

}  // namespace winnow
