#include "gpu/cpu/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace winnow {
namespace {

std::optional<std::string> ReadText(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return std::nullopt;
  }
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

int AffinityCpuCount() {
  // Machines of more than 1,024 CPUs need a larger set; grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) {
      return count;
    }
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The limit set directly in one cgroup folder.
std::optional<double> FolderLimit(const std::string& folder) {
  if (const auto text = ReadText(absl::StrCat(folder, "/cpu.max"))) {
    return ParseCpuMax(*text);
  }
  const auto quota = ReadText(absl::StrCat(folder, "/cpu.cfs_quota_us"));
  const auto period = ReadText(absl::StrCat(folder, "/cpu.cfs_period_us"));
  if (!quota || !period) {
    return std::nullopt;
  }
  return ParseCpuMax(absl::StrCat(*quota, " ", *period));
}

// The smallest limit of a folder and those above it, up to the mount point.
std::optional<double> SmallestLimit(const std::string& mount,
                                    std::string folder) {
  std::optional<double> smallest;
  while (true) {
    if (const auto limit = FolderLimit(absl::StrCat(mount, folder))) {
      smallest = std::min(smallest.value_or(*limit), *limit);
    }
    const size_t slash = folder.rfind('/');
    if (slash == std::string::npos) {
      return smallest;
    }
    folder.resize(slash);
  }
}

std::optional<double> CgroupCpuLimit() {
  const auto membership = ReadText("/proc/self/cgroup");
  if (!membership) {
    return std::nullopt;
  }
  std::optional<double> smallest;
  const auto consider = [&](std::string_view controller, const char* mount) {
    const auto folder = ParseCgroupFolder(*membership, controller);
    // In a container the folder may name a place outside of the mount; the
    // walk up then still ends at the container's own root.
    const auto limit =
        folder ? SmallestLimit(mount, std::string(*folder)) : std::nullopt;
    if (limit) {
      smallest = std::min(smallest.value_or(*limit), *limit);
    }
  };
  consider("", "/sys/fs/cgroup");
  consider("cpu", "/sys/fs/cgroup/cpu");
  return smallest;
}

}  // namespace

std::optional<double> ParseCpuMax(std::string_view content) {
  const std::vector<std::string> words = absl::StrSplit(
      std::string(content), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  double quota = 0;
  double period = 0;
  if (words.size() != 2 || !absl::SimpleAtod(words[0], &quota) ||
      !absl::SimpleAtod(words[1], &period) || !(quota > 0) || !(period > 0)) {
    return std::nullopt;
  }
  return quota / period;
}

std::optional<std::string_view> ParseCgroupFolder(std::string_view content,
                                                  std::string_view controller) {
  // Lines are "<hierarchy>:<controllers, by comma>:<folder>".
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    const size_t first = line.find(':');
    const size_t second =
        first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) {
      continue;
    }
    std::string_view names = line.substr(first + 1, second - first - 1);
    const std::string_view folder = line.substr(second + 1);
    if (names.empty() && controller.empty()) {
      return folder;
    }
    while (!names.empty() && !controller.empty()) {
      const size_t comma = std::min(names.find(','), names.size());
      if (names.substr(0, comma) == controller) {
        return folder;
      }
      names.remove_prefix(std::min(comma + 1, names.size()));
    }
  }
  return std::nullopt;
}

int UsableCpuCount() {
  int count = std::max(1, AffinityCpuCount());
  if (const auto limit = CgroupCpuLimit()) {
    const double whole = std::ceil(std::min(*limit, double{1 << 20}));
    count = std::min(count, std::max(1, static_cast<int>(whole)));
  }
  return count;
}

}  // namespace winnow
