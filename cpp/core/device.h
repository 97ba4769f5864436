// Devices and precisions: parsing, availability, memory.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace diffmine {

struct DeviceInfo {
  std::string id;                // "cpu", "cuda:0"
  std::string name;              // the processor's or card's name
  int64_t memory_total = 0;      // bytes
  int64_t memory_free = 0;       // bytes free now
  std::string compute_capability;  // "9.0", empty on a CPU
  std::string cpu_capability;    // ATen's, e.g. "AVX512"; empty on a GPU
  std::vector<std::string> dtypes;  // that parse_dtype takes there: "fp32", "bf16", "fp16"
};

// All usable devices, the CPU first. Never throws for a missing driver.
std::vector<DeviceInfo> list_devices();

// "cpu", "cuda", "cuda:1". Throws DEVICE_UNAVAILABLE where there is none.
at::Device parse_device(const std::string& text);

// "fp32", "bf16", "fp16". fp16 throws DEVICE_UNAVAILABLE, with the reason, on a CPU that has no instructions for it.
at::ScalarType parse_dtype(const std::string& text, const at::Device& device);

// Whether oneDNN multiplies in fp16 on this processor (AVX512-FP16, AMX-FP16 or AVX-NE-CONVERT). Elsewhere LibTorch's convolutions in fp16 take hundreds of
// times as long as in fp32.
bool cpu_computes_fp16();

// Bytes a new allocation may use: MemAvailable (and the cgroup's limit) on a CPU, free + cached on a GPU.
int64_t available_memory(const at::Device& device);

// Peak bytes since start: VmHWM on a CPU, the caching allocator's peak on a GPU.
int64_t peak_memory(const at::Device& device);

// LibTorch's settings of the whole process for CUDA, made once, before the first engine works, and never changed: engines work beside each other. Nothing
// on a CPU. fp32 means fp32 (no TF32 in cuDNN or cuBLAS; LibTorch's default for cuDNN is TF32), sums of fp16 and bf16 products are never rounded to their
// type on the way, and cuDNN is deterministic. What an engine wants otherwise (tuning, TF32) goes with each of its calls (Conv2d in models/layers.h).
void set_up_backends(const at::Device& device);

// Probes cuDNN attention, once per process, before the first engine that attends in reduced precision on CUDA. LibTorch asks cuDNN first, on the cards and
// with the releases where it is the fastest and right, and asks no other when it throws: it does where it cannot build its kernels (no NVRTC in reach, a
// card it does not know). Where it fails it is turned off, and a line on stderr says so.
void try_attention(const at::Device& device, at::ScalarType dtype);

// Whether LibTorch's FlashAttention runs there: on CUDA from compute capability 8.0 on.
bool has_flash_attention(const at::Device& device);

// Bytes that the caching allocator of the device keeps for later tensors; of all engines of the process.
int64_t cached_memory(const at::Device& device);

// LibTorch's CUDA cache goes back to the driver, on every card. With a CacheLock (core/graph_lock.h) held. Nothing without CUDA.
void empty_device_cache();

// Version of the LibTorch the core was compiled against, e.g. "2.13.0".
std::string libtorch_version();

// Version of the LibTorch it runs with; empty where that does not tell.
std::string libtorch_loaded_version();

}  // namespace diffmine
