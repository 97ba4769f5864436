// Welford's update of mean and sum of squared deviations, element by element. Samples are taken one after the other, so
// that the result does not depend on how they were put into batches.
#pragma once
#include <cstdint>

namespace diffmine {

// samples [n, elements], after `count` earlier ones; mean, m2 [elements] are brought up to date.
void launch_update_moments(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, float* m2,
                           void* cuda_stream);
void update_moments_cpu(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, float* m2,
                        void* cuda_stream = nullptr);

}  // namespace diffmine
