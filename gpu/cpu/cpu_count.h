#pragma once

#include <optional>
#include <string_view>

namespace winnow {

// Cores that this process may use, at least 1: the smaller of its CPU affinity
// and its cgroup's CPU quota (version 2 or 1), rounded up.
int UsableCpuCount();

// Cores granted by the content of a cgroup v2 "cpu.max" file, "<quota>
// <period>" in microseconds.  Nothing for "max", which is no limit, and for
// what is not such a file.
std::optional<double> ParseCpuMax(std::string_view content);

// The folder of this process in the hierarchy of `controller` ("" for version
// 2), from the content of /proc/self/cgroup.
std::optional<std::string_view> ParseCgroupFolder(std::string_view content,
                                                  std::string_view controller);

}  // namespace winnow
