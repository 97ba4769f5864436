// The mean of samples that come one after the other, element by element: each moves it by its distance divided by how
// many there are, so that the result does not depend on how they were put into batches.
#pragma once
#include <cstdint>

namespace diffmine {

// samples [n, elements], after `count` earlier ones; mean [elements] is brought up to date.
void launch_update_mean(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean,
                        void* cuda_stream);
void update_mean_cpu(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean,
                     void* cuda_stream = nullptr);

}  // namespace diffmine
