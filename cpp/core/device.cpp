#include "core/device.h"

#include <ATen/Version.h>

#include <fstream>

#include "core/backends.h"
#include "core/device_memory.h"
#include "core/memory.h"

#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#endif

namespace diffmine {
namespace {

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

#ifdef DIFFMINE_CUDA
DeviceInfo cuda_info(int index) {
  DeviceInfo info;
  info.id = "cuda:" + std::to_string(index);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) == cudaSuccess) {
    info.name = properties.name;
    info.memory_total = static_cast<int64_t>(properties.totalGlobalMem);
    info.compute_capability = std::to_string(properties.major) + "." + std::to_string(properties.minor);
  }
  info.dtypes = {"fp32", "bf16", "fp16"};
  info.native_dtypes = {"fp32", "fp16"};
  if (properties.major >= 8) info.native_dtypes.push_back("bf16");
  info.memory_free = free_memory(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)));
  return info;
}
#endif

}  // namespace

int cuda_device_count() {
#ifdef DIFFMINE_CUDA
  return c10::cuda::device_count();  // 0 without a driver; never throws
#else
  return 0;
#endif
}

std::vector<DeviceInfo> list_devices() {
  const HostMemory memory = host_memory();
  DeviceInfo cpu;
  cpu.id = "cpu";
  cpu.name = processor_name();
  cpu.memory_total = memory.total;
  cpu.memory_free = memory.available;
  cpu.cpu_capability = at::get_cpu_capability();
  cpu.dtypes = {"fp32", "bf16"};
  cpu.native_dtypes = {"fp32"};
  if (cpu_computes_bf16()) cpu.native_dtypes.push_back("bf16");
  if (cpu_computes_fp16()) {
    cpu.dtypes.push_back("fp16");
    cpu.native_dtypes.push_back("fp16");
  }
  std::vector<DeviceInfo> out{cpu};
#ifdef DIFFMINE_CUDA
  for (int i = 0; i < cuda_device_count(); ++i) out.push_back(cuda_info(i));
#endif
  return out;
}

}  // namespace diffmine
