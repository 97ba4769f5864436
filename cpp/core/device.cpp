// Devices and precisions. CUDA goes through c10 and the runtime, so that cuBLAS's headers are not needed.
#include "core/device.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>

#include "core/cpu_allocator.h"
#include "core/error.h"
#include "core/memory.h"

#ifdef DIFFMINE_CUDA
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <iostream>
#include <mutex>
#endif

#define DIFFMINE_TEXT_(x) #x
#define DIFFMINE_TEXT(x) DIFFMINE_TEXT_(x)

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

int cuda_devices() {
#ifdef DIFFMINE_CUDA
  return c10::cuda::device_count();  // 0 without a driver; never throws
#else
  return 0;
#endif
}

#ifdef DIFFMINE_CUDA
struct CudaMemory { int64_t free = 0, total = 0; };

// Zeros where the driver cannot make a context on the card: a device that is full or in exclusive use is still listed.
CudaMemory cuda_memory(c10::DeviceIndex index) try {
  const c10::cuda::CUDAGuard guard(index);
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // or the next kernel launch would report it
    return {};
  }
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
} catch (const c10::Error&) {
  static_cast<void>(cudaGetLastError());
  return {};
}

// The allocator counts nothing, and asserts, before CUDA is first used.
std::optional<c10::CachingDeviceAllocator::DeviceStats> cuda_statistics(c10::DeviceIndex index) {
  auto* allocator = c10::cuda::CUDACachingAllocator::get();
  if (!allocator || !allocator->initialized()) return std::nullopt;
  return allocator->getDeviceStats(index);
}

constexpr size_t kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

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
  info.memory_free = cuda_memory(static_cast<c10::DeviceIndex>(index)).free;
  return info;
}

// As the UNet asks for it.
void try_cudnn_attention(const at::Device& device, at::ScalarType dtype) noexcept try {
  const c10::InferenceMode inference;
  const c10::cuda::OptionalCUDAGuard guard(device);
  try {
    const auto packed = at::randn({1, 128, 3, 8, 40}, at::TensorOptions(device).dtype(dtype));
    const auto part = [&](int64_t which, int64_t tokens) { return packed.slice(1, 0, tokens).select(2, which).transpose(1, 2); };
    at::scaled_dot_product_attention(part(0, 128), part(1, 77), part(2, 77));
    c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    if (what.find("cuDNN") == std::string::npos) throw;
    at::globalContext().setSDPUseCuDNN(false);
    std::cerr << "cuDNN's attention is off: " << what.substr(0, what.find('\n')) << std::endl;
  }
} catch (const std::exception&) {
  static_cast<void>(cudaGetLastError());  // no memory, no context: the first work will say so
}
#endif

}  // namespace

std::vector<DeviceInfo> list_devices() {
  const HostMemory memory = host_memory();
  DeviceInfo cpu;
  cpu.id = "cpu";
  cpu.name = processor_name();
  cpu.memory_total = memory.total;
  cpu.memory_free = memory.available;
  cpu.cpu_capability = at::get_cpu_capability();
  cpu.dtypes = {"fp32", "bf16"};
  if (cpu_computes_fp16()) cpu.dtypes.push_back("fp16");
  std::vector<DeviceInfo> out{cpu};
#ifdef DIFFMINE_CUDA
  for (int i = 0; i < cuda_devices(); ++i) out.push_back(cuda_info(i));
#endif
  return out;
}

at::Device parse_device(const std::string& text) {
  if (text == "cpu") return at::Device(at::kCPU);
  int index = 0;
  bool good = text == "cuda";
  if (text.rfind("cuda:", 0) == 0) {
    const char *first = text.data() + 5, *last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, index);
    good = error == std::errc() && end == last && index >= 0;
  }
  if (!good) throw Error(code::kInvalidArgument, "'" + text + "' is no device.", "Devices are cpu, cuda, and cuda:1 and so on.");
  const int count = cuda_devices();
  if (index < count) return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
#ifdef DIFFMINE_CUDA
  throw Error(code::kDeviceUnavailable,
              "There is no device " + text + ": " + (count == 0 ? "no CUDA device or driver was found" : std::to_string(count) + " found") + ".",
              count == 0 ? "Use --device cpu, or check `nvidia-smi`." : "Devices are cuda:0 to cuda:" + std::to_string(count - 1) + ".");
#else
  throw Error(code::kDeviceUnavailable, "There is no device " + text + ": this build is for CPUs alone.",
              "Use --device cpu, or build with CUDA: diffmine setup --cuda.");
#endif
}

at::ScalarType parse_dtype(const std::string& text, const at::Device& device) {
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  if (text != "fp16") throw Error(code::kInvalidArgument, "'" + text + "' is no precision.", "Precisions are fp32, bf16 and fp16.");
  if (device.is_cpu() && !cpu_computes_fp16()) {
    throw Error(code::kDeviceUnavailable, "fp16 is not supported on this CPU: oneDNN has no fp16 for it, and convolutions without oneDNN take hundreds of times as long as in fp32.",
                "Use bf16 or fp32. fp16 needs a GPU, or a CPU with AVX512-FP16, AMX-FP16 or AVX-NE-CONVERT.");
  }
  return at::kHalf;
}

bool cpu_computes_fp16() {
  static const bool supported = [] {
    if (!at::hasMKLDNN()) return false;
    const auto op = c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_fp16_supported", ""});
    return op && op->typed<bool()>().call();
  }();
  return supported && at::globalContext().userEnabledMkldnn();
}

int64_t available_memory(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const auto index = device.has_index() ? device.index() : c10::cuda::current_device();
    return cuda_memory(index).free + cached_memory(device);
  }
#endif
  return host_memory().available;
}

int64_t cached_memory(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const auto statistics = cuda_statistics(device.has_index() ? device.index() : c10::cuda::current_device());
    return statistics ? statistics->reserved_bytes[kAggregate].current - statistics->allocated_bytes[kAggregate].current : 0;
  }
#endif
  return CpuCachingAllocator::size().cached;
}

void empty_device_cache() {
#ifdef DIFFMINE_CUDA
  c10::cuda::CUDACachingAllocator::emptyCache();
#endif
}

int64_t peak_memory(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const auto statistics = cuda_statistics(device.has_index() ? device.index() : c10::cuda::current_device());
    return statistics ? statistics->reserved_bytes[kAggregate].peak : 0;
  }
#endif
  return peak_resident();
}

void set_up_backends(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  static std::once_flag done;
  if (!device.is_cuda()) return;
  std::call_once(done, [] {
    auto& context = at::globalContext();
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    context.setAllowFP16ReductionCuBLAS(false);
    context.setAllowBF16ReductionCuBLAS(false);
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(true);
  });
#else
  (void)device;
#endif
}

void try_attention(const at::Device& device, at::ScalarType dtype) {
#ifdef DIFFMINE_CUDA
  static std::once_flag tried;
  if (device.is_cuda() && dtype != at::kFloat) std::call_once(tried, try_cudnn_attention, device, dtype);
#else
  (void)device, (void)dtype;
#endif
}

bool has_flash_attention(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  int major = 0;
  return device.is_cuda() && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index()) == cudaSuccess && major >= 8;
#else
  (void)device;
  return false;
#endif
}

std::string libtorch_version() {
  return DIFFMINE_TEXT(TORCH_VERSION_MAJOR) "." DIFFMINE_TEXT(TORCH_VERSION_MINOR) "." DIFFMINE_TEXT(TORCH_VERSION_PATCH);
}

std::string libtorch_loaded_version() {
  static const std::string key = "TORCH_VERSION=";
  const std::string config = at::show_config();
  const size_t begin = config.find(key);
  if (begin == std::string::npos) return {};
  return config.substr(begin + key.size(), config.find_first_not_of("0123456789.", begin + key.size()) - begin - key.size());
}

}  // namespace diffmine
