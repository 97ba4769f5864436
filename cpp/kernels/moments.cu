// Streaming moments: one thread an dtype, its mean and m2 in registers over the new samples.
#include "kernels/launch.cuh"
#include "kernels/moments.h"

namespace diffmine {
namespace {

__global__ void update_moments(const float* __restrict__ samples, int64_t n, int64_t elements, int64_t count,
                               float* __restrict__ mean, float* __restrict__ m2) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= elements) return;
  float m = mean[i], q = m2[i];
  for (int64_t s = 0; s < n; ++s) {
    const float x = samples[s * elements + i];
    const float delta = x - m;
    m += delta * (1.0f / static_cast<float>(count + s + 1));
    q += delta * (x - m);
  }
  mean[i] = m;
  m2[i] = q;
}

}  // namespace

void launch_update_moments(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, float* m2,
                           void* cuda_stream) {
  if (n * elements == 0) return;
  launch("update_moments", update_moments, {blocks_of(elements)}, cuda_stream, samples, n, elements, count, mean, m2);
}

}  // namespace diffmine
