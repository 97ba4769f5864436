// The devices of this machine.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace diffmine {

struct DeviceInfo {
  std::string id;                          // "cpu", "cuda:0"
  std::string name;                        // the processor's or card's name
  int64_t memory_total = 0;                // bytes
  int64_t memory_free = 0;                 // bytes free now
  std::string compute_capability;          // "9.0", empty on a CPU
  std::string cpu_capability;              // ATen's, e.g. "AVX512"; empty on a GPU
  std::vector<std::string> dtypes;         // that parse_dtype accepts there: "fp32", "bf16", "fp16"
  std::vector<std::string> native_dtypes;  // of these, what the hardware multiplies in; others are emulated, and slow
};

// All usable devices, the CPU first. Never throws for a missing driver.
std::vector<DeviceInfo> list_devices();

// CUDA devices; 0 without a driver, or in a build without CUDA. Never throws.
int cuda_device_count();

}  // namespace diffmine
