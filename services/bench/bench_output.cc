#include "services/bench/bench_output.h"

#include <iostream>
#include <string_view>

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/bench/bench_machine.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {

void BenchOutput::AddTo(CLI::App& command) {
  command.add_flag("--json", json_, "print one JSON object");
  command.add_option("--out", path_, "write the JSON to a file as well")
      ->type_name("FILE");
}

absl::Status BenchOutput::Open() {
  if (path_.empty()) {
    return absl::OkStatus();
  }
  file_.open(path_, std::ios::binary | std::ios::trunc);
  if (!file_) {
    return absl::NotFoundError(absl::StrCat(
        "cannot write ", path_, "; give a path in a folder that exists"));
  }
  return absl::OkStatus();
}

absl::Status BenchOutput::Write(const Json& json, const std::string& table) {
  std::cout << (json_ ? Dump(json) + "\n" : table);
  if (!file_.is_open()) {
    return absl::OkStatus();
  }
  file_ << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  file_.close();
  if (!file_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot write all of ", path_, "; is the disk full?"));
  }
  return absl::OkStatus();
}

void ShowBenchStep(std::string_view text) {
  if (isatty(STDERR_FILENO) != 0) {
    std::cerr << text << " ...\n";
  }
}

Json RunJson() {
  Json json;
  json["version"] = WINNOW_VERSION;
  json["date_utc"] =
      absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone());
  json["cpu"] = CpuModelName();
  return json;
}

}  // namespace winnow
