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

inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  throw Error(status == cudaErrorMemoryAllocation ? code::kOutOfMemory : code::kInternal,
              std::string("The CUDA kernel ") + kernel + " did not start: " + cudaGetErrorString(status) + ".",
              "Is the binary built for this card (diffmine doctor shows its compute capability; CMake option DIFFMINE_CUDA_ARCHITECTURES)?");
}

}  // namespace diffmine
