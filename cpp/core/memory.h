// How much memory the host gives this process: the kernel's count and the cgroup's limit, whichever is less.
#pragma once
#include <cstdint>
#include <string>

namespace diffmine {

struct HostMemory {
  int64_t total = 0;      // bytes
  int64_t available = 0;  // bytes a new allocation may use
};

// `root` is "" but in tests, which lay out /proc and /sys/fs/cgroup in a folder.
HostMemory host_memory(const std::string& root = "");

// Peak resident bytes of this process (VmHWM).
int64_t peak_resident();

}  // namespace diffmine
