// Reads /proc and /sys/fs/cgroup (versions 1 and 2). Where there is no /proc: what POSIX can say.
#include "core/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

namespace diffmine {
namespace {

std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream in(path);
  int64_t value = 0;
  if (in >> value) return value;  // "max" (no limit) is not a number
  return std::nullopt;
}

// The number after `key` in "key value" lines; "kB" is heeded.
std::optional<int64_t> read_field(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name, unit;
    int64_t value = 0;
    if (words >> name >> value && name == key) {
      words >> unit;
      return unit == "kB" ? value * 1024 : value;
    }
  }
  return std::nullopt;
}

struct Files {
  const char *limit, *usage, *reclaimable;
};
constexpr Files kV2{"memory.max", "memory.current", "inactive_file"};
constexpr Files kV1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

// Limits hold on every level up to the mount. In a container the path may name folders that cannot be seen from inside.
void apply_cgroup(HostMemory& memory, const std::string& mount, std::string path, const Files& files) {
  while (true) {
    const std::string folder = mount + path + "/";
    if (const auto limit = read_number(folder + files.limit); limit && *limit >= 0 && *limit < memory.total) {
      const int64_t usage = read_number(folder + files.usage).value_or(0);
      const int64_t reclaimable = read_field(folder + "memory.stat", files.reclaimable).value_or(0);
      memory.total = *limit;
      memory.available = std::clamp<int64_t>(*limit - usage + reclaimable, 0, memory.available);
    }
    if (path.empty()) return;
    path.erase(path.find_last_of('/'));
  }
}

}  // namespace

HostMemory host_memory(const std::string& root) {
  const std::string meminfo = root + "/proc/meminfo";
  HostMemory memory;
  memory.total = read_field(meminfo, "MemTotal:")
                     .value_or(static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE));
  memory.available = read_field(meminfo, "MemAvailable:").value_or(memory.total / 2);

  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path", or "0::/path" for version 2
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path.empty() || path[0] != '/') continue;
    while (!path.empty() && path.back() == '/') path.pop_back();
    if (controllers.empty()) apply_cgroup(memory, root + "/sys/fs/cgroup", path, kV2);
    if (("," + controllers + ",").find(",memory,") != std::string::npos)
      apply_cgroup(memory, root + "/sys/fs/cgroup/memory", path, kV1);
  }
  return memory;
}

int64_t peak_resident() {
  if (const auto peak = read_field("/proc/self/status", "VmHWM:")) return *peak;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;  // bytes
#else
  return usage.ru_maxrss * 1024;
#endif
}

}  // namespace diffmine
