// CPU implementation of moments.cu.
#include "kernels/moments.h"

#include <ATen/Parallel.h>

namespace diffmine {

void update_moments_cpu(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, float* m2,
                        void*) {
  at::parallel_for(0, elements, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < n; ++s) {
      const float* x = samples + s * elements;
      const float inverse = 1.0f / static_cast<float>(count + s + 1);
      for (int64_t i = begin; i < end; ++i) {
        const float delta = x[i] - mean[i];
        mean[i] += delta * inverse;
        m2[i] += delta * (x[i] - mean[i]);
      }
    }
  });
}

}  // namespace diffmine
