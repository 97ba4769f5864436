// CPU implementation of running_mean.cu.
#include "kernels/running_mean.h"

#include <ATen/Parallel.h>

namespace diffmine {

void update_mean_cpu(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, void*) {
  at::parallel_for(0, elements, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < n; ++s) {
      const float* x = samples + s * elements;
      const float part = 1.0f / static_cast<float>(count + s + 1);
      for (int64_t i = begin; i < end; ++i) mean[i] += (x[i] - mean[i]) * part;
    }
  });
}

}  // namespace diffmine
