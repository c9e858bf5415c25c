#include "services/common/cgroup_memory.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/cpu/cpu_count.h"

namespace winnow {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

void Lower(std::optional<uint64_t>& smallest, std::optional<uint64_t> limit) {
  if (limit) {
    smallest = std::min(smallest.value_or(*limit), *limit);
  }
}

// The smallest limit of a folder and those above it, up to the mount point.
std::optional<uint64_t> SmallestLimit(const std::string& mount,
                                      std::string folder,
                                      std::string_view file) {
  std::optional<uint64_t> smallest;
  while (true) {
    Lower(
        smallest,
        ParseMemoryMax(ReadText(absl::StrCat(mount, folder, "/", Absl(file)))));
    const size_t slash = folder.rfind('/');
    if (slash == std::string::npos) {
      return smallest;
    }
    folder.resize(slash);
  }
}

}  // namespace

std::optional<uint64_t> ParseMemoryMax(std::string_view content) {
  uint64_t bytes = 0;
  const absl::string_view number = absl::StripAsciiWhitespace(Absl(content));
  if (!absl::SimpleAtoi(number, &bytes) || bytes == 0) {
    return std::nullopt;
  }
  return bytes;
}

std::optional<uint64_t> CgroupMemoryLimit(const std::string& root) {
  const std::string membership = ReadText(root + "/proc/self/cgroup");
  std::optional<uint64_t> smallest;
  if (const auto folder = ParseCgroupFolder(membership, "")) {
    Lower(smallest, SmallestLimit(root + "/sys/fs/cgroup", std::string(*folder),
                                  "memory.max"));
  }
  if (const auto folder = ParseCgroupFolder(membership, "memory")) {
    Lower(smallest,
          SmallestLimit(root + "/sys/fs/cgroup/memory", std::string(*folder),
                        "memory.limit_in_bytes"));
  }
  return smallest;
}

uint64_t UsableMemoryBytes() {
  const auto pages = std::max(1L, sysconf(_SC_PHYS_PAGES));
  const auto page = std::max(1L, sysconf(_SC_PAGESIZE));
  const uint64_t machine =
      static_cast<uint64_t>(pages) * static_cast<uint64_t>(page);
  return std::min(machine, CgroupMemoryLimit().value_or(machine));
}

}  // namespace winnow
