// Where the time of some work goes: kernels on a GPU, operators on a CPU, from LibTorch's profiler (Kineto).
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace diffmine::bench {

struct KernelTime {
  std::string name;
  double seconds = 0;  // on the device; of an operator on a CPU without those it calls
  int64_t calls = 0;
};

struct KernelTimes {
  std::string kind;  // "kernels", or "operators" where there is no GPU or no kernel was recorded (CUPTI is missing)
  // Wall time; what the rows do not add up to is idle time, on a CPU also the project's own kernels.
  double seconds = 0;
  std::vector<KernelTime> rows;  // the longest first
};

// Runs `work` under the profiler; it must wait for the device at its end.
KernelTimes kernel_times(const c10::Device& device, const std::function<void()>& work);

}  // namespace diffmine::bench
