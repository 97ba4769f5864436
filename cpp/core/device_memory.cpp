#include "core/device_memory.h"

#include "core/cpu_allocator.h"
#include "core/memory.h"

#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <optional>
#endif

namespace diffmine {

#ifdef DIFFMINE_CUDA
namespace {

constexpr size_t kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

c10::DeviceIndex index_of(const c10::Device& device) {
  return device.has_index() ? device.index() : c10::cuda::current_device();
}

// 0 if the driver cannot make a context on the card: a device that is full or in exclusive use is still listed.
int64_t cuda_free_memory(c10::DeviceIndex index) try {
  const c10::cuda::CUDAGuard guard(index);
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) == cudaSuccess) return static_cast<int64_t>(free);
  static_cast<void>(cudaGetLastError());  // or the next kernel launch would report it
  return 0;
} catch (const c10::Error&) {
  static_cast<void>(cudaGetLastError());
  return 0;
}

// The allocator counts nothing, and asserts, before CUDA is first used.
std::optional<c10::CachingDeviceAllocator::DeviceStats> cuda_statistics(const c10::Device& device) {
  auto* allocator = c10::cuda::CUDACachingAllocator::get();
  if (!allocator || !allocator->initialized()) return std::nullopt;
  return allocator->getDeviceStats(index_of(device));
}

}  // namespace
#endif

int64_t free_memory(const c10::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) return cuda_free_memory(index_of(device));
#endif
  return host_memory().available;
}

int64_t available_memory(const c10::Device& device) {
  return device.is_cuda() ? free_memory(device) + cached_memory(device) : free_memory(device);
}

int64_t cached_memory(const c10::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const auto statistics = cuda_statistics(device);
    return statistics ? statistics->reserved_bytes[kAggregate].current - statistics->allocated_bytes[kAggregate].current
                      : 0;
  }
#endif
  return CpuCachingAllocator::size().cached;
}

void empty_device_cache() {
#ifdef DIFFMINE_CUDA
  c10::cuda::CUDACachingAllocator::emptyCache();
#endif
}

int64_t peak_memory(const c10::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const auto statistics = cuda_statistics(device);
    return statistics ? statistics->reserved_bytes[kAggregate].peak : 0;
  }
#endif
  return peak_resident();
}

}  // namespace diffmine
