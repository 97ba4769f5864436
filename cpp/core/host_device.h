// Functions that CPU code and CUDA kernels share.
#pragma once

#ifdef __CUDACC__
#define DIFFMINE_HD __host__ __device__ __forceinline__
#else
#define DIFFMINE_HD inline
#endif
