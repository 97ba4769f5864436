// CPU implementation of loss_difference.cu: its two parts after each other for one sample at a time, whose maps stay in
// the cache.
#include "kernels/loss_difference.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace diffmine {

void loss_difference_cpu(float* differences, float* mean, const float* e, const float* x, const float* noise,
                         const float* target_x, const float* target_noise, const float* scale, const int64_t* subject,
                         const float* weight, LossShape shape, void*) {
  const int64_t conditions = shape.conditions, channels = shape.channels, height = shape.height, width = shape.width,
                fold = shape.fold;
  const int64_t plane = height * width, folded = fold * fold, row_size = channels * plane;
  const int64_t line = width * folded;  // `fold` lines of the map
  const float inverse = static_cast<float>(folded) / static_cast<float>(channels);
  at::parallel_for(0, shape.outputs * height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(line);
    for (int64_t mh = begin; mh < end; ++mh) {
      const int64_t m = mh / height, h = mh % height, place = mh * line;  // of lines h fold ... of map m
      for (int64_t s = 0; s < shape.samples; ++s) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        const float* own = e + (s * conditions + subject[m]) * row_size;
        for (int64_t k = 0; k < conditions; ++k) {
          const float w = weight[m * conditions + k] * inverse;
          if (w == 0) continue;
          const float* other = e + (s * conditions + k) * row_size;
          for (int64_t c = 0; c < channels; ++c) {
            float* to = sums.data() + c % folded / fold * width * fold + c % fold;
            const int64_t at = c * shape.e_channel + h * width * shape.e_cell, from = c * plane + h * width;
            for (int64_t i = 0; i < width; ++i) {
              const float y = target_x[s] * x[from + i] + target_noise[s] * noise[s * row_size + from + i];
              const float a = own[at + i * shape.e_cell], b = other[at + i * shape.e_cell];
              to[i * fold] += w * loss_gap(shape.loss, a, b, y);
            }
          }
        }
        const float part = 1.0f / static_cast<float>(shape.count + s + 1);
        for (int64_t i = 0; i < line; ++i) {
          sums[i] *= scale[s];
          mean[place + i] += (sums[i] - mean[place + i]) * part;
        }
        if (differences) std::copy(sums.begin(), sums.end(), differences + s * shape.outputs * height * line + place);
      }
    }
  });
}

}  // namespace diffmine
