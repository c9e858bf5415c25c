#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace winnow {

// Bytes that this process may use: the smaller of the machine's memory and its
// cgroup's limit (version 2 or 1).  At least 1.
uint64_t UsableMemoryBytes();

// The smallest memory limit of this process's cgroup and of those above it.
// `root` stands before /proc and /sys, for tests; nothing if there is no limit.
std::optional<uint64_t> CgroupMemoryLimit(const std::string& root = "");

// Bytes granted by the content of "memory.max" (version 2) or
// "memory.limit_in_bytes" (version 1).  Nothing for "max" and for what is not
// such a file.
std::optional<uint64_t> ParseMemoryMax(std::string_view content);

}  // namespace winnow
