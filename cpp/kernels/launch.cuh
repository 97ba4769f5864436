// What every kernel and its launcher need: the number of blocks, the launch and its errors, shared memory.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "core/error.h"

namespace diffmine {

constexpr int kThreads = 256;

// Shared memory that a kernel may have on any card without asking for it.
constexpr size_t kMaxShared = 48 << 10;

inline void check_size(bool fits, const char* kernel) {
  if (fits) return;
  throw Error(code::kInternal, std::string("The CUDA kernel ") + kernel + " has no room for so large an input.",
              "Choose a smaller batch.");
}

// Blocks of a grid with one thread an item, none doing two.
inline unsigned blocks_of(int64_t n) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  check_size(blocks <= INT32_MAX, "grid");
  return static_cast<unsigned>(blocks);
}

// What a launch takes beside its kernel: blocks, threads of each, bytes of their dynamic shared memory.
struct Grid {
  dim3 blocks;
  unsigned threads = kThreads;
  size_t shared = 0;
};

// What every call says of a context that a kernel has broken (an address that is not there, an instruction, a time
// limit).
inline constexpr const char* kLostDevice =
    "Restart the process: every further call on this GPU would fail. With CUDA_LAUNCH_BLOCKING=1 the error comes "
    "where the kernel failed.";

// One launch, and an Error where it was refused. Kernels run later: what an earlier one broke is first told to whoever
// calls CUDA next, and is no fault of this launch.
template <class... Parameters, class... Args>
void launch(const char* name, void (*kernel)(Parameters...), Grid grid, void* cuda_stream, Args... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared;
  config.stream = static_cast<cudaStream_t>(cuda_stream);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, args...);
  if (status == cudaSuccess) return;
  cudaGetLastError();  // taken back: the next one to ask shall not find it
  // A refused launch leaves the stream as it was; a broken context answers every call with what broke it.
  if (cudaStreamQuery(config.stream) == status) {
    throw Error(code::kInternal,
                std::string("A CUDA kernel failed earlier: ") + cudaGetErrorString(status) + " (noticed when " + name +
                    " was launched).",
                kLostDevice);
  }
  cudaGetLastError();  // of the query: the stream is busy, or is being captured
  throw Error(status == cudaErrorMemoryAllocation ? code::kOutOfMemory : code::kInternal,
              std::string("The CUDA kernel ") + name + " could not be launched: " + cudaGetErrorString(status) + ".",
              "Is the binary built for this card (diffmine doctor shows its compute capability; CMake option "
              "DIFFMINE_CUDA_ARCHITECTURES)?");
}

// The shared memory that the launch asked for, in a kernel.
template <class T>
__device__ inline T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ float4 shared[];  // aligned for any T
  return reinterpret_cast<T*>(shared);
#else
  return static_cast<T*>(
      emulation::dynamic_shared());  // no array of C++ has a size that a launch decides (cpp/tests/emulation)
#endif
}

}  // namespace diffmine
