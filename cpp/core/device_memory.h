// Memory of a device, as its caching allocator sees it.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>

namespace diffmine {

// Bytes free now: MemAvailable (and the cgroup's limit) on a CPU; what the driver reports on a GPU, 0 if it cannot make
// a context there.
int64_t free_memory(const c10::Device& device);

// Bytes a new allocation may use: free memory, and on a GPU what the caching allocator holds.
int64_t available_memory(const c10::Device& device);

// Peak bytes since start: VmHWM on a CPU, the caching allocator's peak on a GPU.
int64_t peak_memory(const c10::Device& device);

// Bytes that the device's caching allocator holds for later tensors, of all engines of the process.
int64_t cached_memory(const c10::Device& device);

// Returns LibTorch's CUDA cache to the driver, on every card. With a CacheLock (core/graph_lock.h) held. Does nothing
// without CUDA.
void empty_device_cache();

}  // namespace diffmine
