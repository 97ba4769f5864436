// What every kernel launcher needs: how many blocks, and an error where a launch was refused.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace diffmine {

constexpr int kThreads = 256;

// Blocks of a grid-stride loop over n; enough to fill any card, never more than a grid may have.
inline int blocks_for(int64_t n) { return static_cast<int>(std::min<int64_t>((n + kThreads - 1) / kThreads, 1 << 16)); }

// Shared memory that a kernel may have on any card without asking for it.
constexpr size_t kMostShared = 48 << 10;

inline void check_size(bool fits, const char* kernel) {
  if (fits) return;
  throw Error(code::kInternal, std::string("The CUDA kernel ") + kernel + " has no room for so large an input.", "Choose a smaller batch.");
}

// Blocks of a grid with one thread an item, none doing two.
inline unsigned blocks_of(int64_t n) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  check_size(blocks <= INT32_MAX, "grid");
  return static_cast<unsigned>(blocks);
}

inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  throw Error(status == cudaErrorMemoryAllocation ? code::kOutOfMemory : code::kInternal,
              std::string("The CUDA kernel ") + kernel + " did not start: " + cudaGetErrorString(status) + ".",
              "Is the binary built for this card (diffmine doctor shows its compute capability; CMake option DIFFMINE_CUDA_ARCHITECTURES)?");
}

}  // namespace diffmine
