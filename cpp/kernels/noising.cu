// Noising: one thread an output element, in the output's order, so that writes are coalesced; the few channels make the reads cheap.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/launch.cuh"
#include "kernels/noising.h"

namespace diffmine {
namespace {

__device__ void store(float* to, float value) { *to = value; }
__device__ void store(__half* to, float value) { *to = __float2half_rn(value); }
__device__ void store(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }

template <class T>
__global__ void add_noise(T* __restrict__ out, const float* __restrict__ x, const float* __restrict__ noise, const float* __restrict__ a,
                          const float* __restrict__ s, int64_t rows, int64_t channels, int64_t pixels) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < rows * pixels * channels; i += stride) {
    const int64_t c = i % channels, pixel = i / channels % pixels, row = i / (channels * pixels);
    const int64_t from = (row * channels + c) * pixels + pixel;
    store(out + i, a[row] * x[from] + s[row] * noise[from]);
  }
}

template <class T>
void launch(void* out, const float* x, const float* noise, const float* a, const float* s, int64_t rows, int64_t channels, int64_t pixels,
            void* cuda_stream) {
  const int64_t n = rows * channels * pixels;
  if (n == 0) return;
  add_noise<T><<<blocks_for(n), kThreads, 0, static_cast<cudaStream_t>(cuda_stream)>>>(static_cast<T*>(out), x, noise, a, s, rows, channels,
                                                                                    pixels);
  check_launch("add_noise");
}

}  // namespace

void launch_add_noise(void* out, Element element, const float* x, const float* noise, const float* a, const float* s, int64_t rows,
                      int64_t channels, int64_t pixels, void* cuda_stream) {
  switch (element) {
    case Element::kFloat32: return launch<float>(out, x, noise, a, s, rows, channels, pixels, cuda_stream);
    case Element::kFloat16: return launch<__half>(out, x, noise, a, s, rows, channels, pixels, cuda_stream);
    case Element::kBFloat16: return launch<__nv_bfloat16>(out, x, noise, a, s, rows, channels, pixels, cuda_stream);
  }
}

}  // namespace diffmine
