// Running mean: one thread per element, its mean in a register over the new samples.
#include "kernels/launch.cuh"
#include "kernels/running_mean.h"

namespace diffmine {
namespace {

__global__ void update_mean(const float* __restrict__ samples, int64_t n, int64_t elements, int64_t count,
                            float* __restrict__ mean) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= elements) return;
  float m = mean[i];
  for (int64_t s = 0; s < n; ++s) m += (samples[s * elements + i] - m) * (1.0f / static_cast<float>(count + s + 1));
  mean[i] = m;
}

}  // namespace

void launch_update_mean(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean,
                        void* cuda_stream) {
  if (n * elements == 0) return;
  launch("update_mean", update_mean, {blocks_of(elements)}, cuda_stream, samples, n, elements, count, mean);
}

}  // namespace diffmine
