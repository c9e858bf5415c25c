#include "services/bench/bench_machine.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>
#include <utility>

#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "gpu/base/absl_string.h"

namespace winnow {
namespace {

// Files of /proc have no size: they are read to their end.
std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Duration OwnCpuTime() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

std::optional<int64_t> BusyTicks() {
  return ParseBusyTicks(ReadAll("/proc/stat"));
}

// The kB of a line "Name:   123 kB", in bytes.
std::optional<uint64_t> SizeField(std::string_view text,
                                  std::string_view name) {
  for (const auto& line : absl::StrSplit(Absl(text), '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(": \t"), absl::SkipEmpty());
    uint64_t kibibytes = 0;
    if (words.size() == 3 && words[0] == Absl(name) && words[2] == "kB" &&
        absl::SimpleAtoi(words[1], &kibibytes)) {
      return kibibytes << 10;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string CpuModelName() {
  constexpr std::string_view kField = "model name";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with(kField) && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

std::optional<ResidentMemory> ParseResidentMemory(std::string_view status) {
  const auto total = SizeField(status, "VmRSS");
  const auto anonymous = SizeField(status, "RssAnon");
  const auto file = SizeField(status, "RssFile");
  if (!total || !anonymous || !file) {
    return std::nullopt;
  }
  return ResidentMemory{.total_bytes = *total,
                        .anonymous_bytes = *anonymous,
                        .file_bytes = *file};
}

absl::StatusOr<ResidentMemory> ReadResidentMemory(const std::string& pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/status");
  const auto memory = ParseResidentMemory(ReadAll(path));
  if (!memory) {
    return absl::UnavailableError(absl::StrCat(
        path,
        " does not say VmRSS, RssAnon and RssFile; mount /proc to measure "
        "resident memory, and see that the process still runs"));
  }
  return *memory;
}

std::optional<int64_t> ParseBusyTicks(std::string_view stat) {
  const absl::string_view line =
      Absl(stat.substr(0, std::min(stat.find('\n'), stat.size())));
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, ' ', absl::SkipEmpty());
  // cpu user nice system idle iowait irq softirq ...
  constexpr size_t kBusy[] = {1, 2, 3, 6, 7};
  if (words.size() < 8 || words[0] != "cpu") {
    return std::nullopt;
  }
  int64_t busy = 0;
  for (const size_t field : kBusy) {
    int64_t ticks = 0;
    if (!absl::SimpleAtoi(words[field], &ticks)) {
      return std::nullopt;
    }
    busy += ticks;
  }
  return busy;
}

absl::Duration CpuTimeOf(int pid) {
  const std::string stat = ReadAll(absl::StrCat("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(')');  // names may have anything in them
  if (name_end == std::string::npos) {
    return absl::ZeroDuration();
  }
  // state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt
  // utime stime
  constexpr size_t kUser = 11;
  const std::string fields = stat.substr(name_end + 1);
  const std::vector<absl::string_view> words =
      absl::StrSplit(fields, ' ', absl::SkipEmpty());
  absl::Duration total;
  for (const size_t field : {kUser, kUser + 1}) {
    int64_t ticks = 0;
    if (field < words.size() && absl::SimpleAtoi(words[field], &ticks)) {
      total += absl::Seconds(static_cast<double>(ticks) /
                             static_cast<double>(sysconf(_SC_CLK_TCK)));
    }
  }
  return total;
}

LoadMeter::LoadMeter(std::function<absl::Duration()> children)
    : children_(std::move(children)),
      started_(absl::Now()),
      own_(OwnTime()),
      busy_ticks_(BusyTicks()) {}

absl::Duration LoadMeter::OwnTime() const {
  return OwnCpuTime() + (children_ ? children_() : absl::ZeroDuration());
}

double LoadMeter::OtherCores() const {
  const std::optional<int64_t> busy_ticks = BusyTicks();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - started_);
  if (!busy_ticks || !busy_ticks_ || seconds <= 0) {
    return 0;
  }
  const double busy = static_cast<double>(*busy_ticks - *busy_ticks_) /
                      static_cast<double>(sysconf(_SC_CLK_TCK));
  const double own = absl::ToDoubleSeconds(OwnTime() - own_);
  return std::max(0.0, (busy - own) / seconds);
}

bool WaitUntilQuiet(double cores, absl::Duration limit) {
  constexpr absl::Duration kWindow = absl::Milliseconds(400);
  for (const absl::Time end = absl::Now() + limit; absl::Now() < end;) {
    const LoadMeter meter;
    absl::SleepFor(kWindow);
    if (meter.OtherCores() < cores) {
      return true;
    }
  }
  return false;
}

}  // namespace winnow
