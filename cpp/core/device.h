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
};

// All usable devices, the CPU first. Never throws for a missing driver.
std::vector<DeviceInfo> list_devices();

// "cpu", "cuda", "cuda:1". Throws DEVICE_UNAVAILABLE where there is none.
at::Device parse_device(const std::string& text);

// "fp32", "bf16", "fp16". fp16 on a CPU throws DEVICE_UNAVAILABLE with a hint (use bf16).
at::ScalarType parse_dtype(const std::string& text, const at::Device& device);

// Bytes a new allocation may use: MemAvailable (and the cgroup's limit) on a CPU, free + cached on a GPU.
int64_t available_memory(const at::Device& device);

// Peak bytes since start: VmHWM on a CPU, the caching allocator's peak on a GPU.
int64_t peak_memory(const at::Device& device);

// How LibTorch's CUDA backends are to compute, for the whole process: an engine calls it before each of its tasks. Nothing on a CPU. fp32 means fp32: no
// TF32 in cuDNN or cuBLAS (LibTorch's default for cuDNN is TF32), and sums of fp16 and bf16 products are never rounded to their type on the way. `tune`:
// cuDNN measures its algorithms for each new shape (benchmark mode) and takes the fastest.
void set_up_backends(const at::Device& device, bool tune);

// For who will attend in reduced precision on CUDA; once a process. There LibTorch asks cuDNN first, on the cards and with the releases where it is the
// fastest and right, and asks no other when it throws: it does where it cannot build its kernels (no NVRTC in reach, a card it does not know). So it is
// tried, and turned off, as a line on stderr says, where it fails.
void try_attention(const at::Device& device, at::ScalarType dtype);

// In its scope fp32 products on CUDA round their factors to TF32's 11 bits, which are fp16's (of the whole process, as LibTorch has it): for the VAE
// of an engine that computes in reduced precision, which must have fp32's range and would else take a tenth of the time.
class AllowTf32 {
 public:
  explicit AllowTf32(bool allowed) : allowed_(allowed) { set(true); }
  ~AllowTf32() { set(false); }
  AllowTf32(const AllowTf32&) = delete;
  AllowTf32& operator=(const AllowTf32&) = delete;

 private:
  void set(bool on) const;
  const bool allowed_;
};

// Version of the LibTorch the core was compiled against, e.g. "2.13.0".
std::string libtorch_version();

// Version of the LibTorch it runs with; empty where that does not tell.
std::string libtorch_loaded_version();

}  // namespace diffmine
