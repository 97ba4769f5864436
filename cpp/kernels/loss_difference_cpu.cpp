// CPU implementation of loss_difference.cu: the same sums in the same order, over rows of the map.
#include "kernels/loss_difference.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace diffmine {

void loss_difference_cpu(float* out, const float* e, const float* x, const float* noise, const float* target_x,
                         const float* target_noise, const int64_t* subject, const float* weight, LossShape shape,
                         void*) {
  const int64_t conditions = shape.conditions, outputs = shape.outputs, channels = shape.channels;
  const int64_t height = shape.height, width = shape.width, fold = shape.fold, plane = height * width,
                folded = fold * fold;
  const float inverse = static_cast<float>(folded) / static_cast<float>(channels);  // one over the channels of a pixel
  at::parallel_for(0, shape.rows * outputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t pm = begin; pm < end; ++pm) {
      const int64_t p = pm / outputs;
      float* map = out + pm * plane * folded;
      std::fill_n(map, plane * folded, 0.0f);
      const float* xs = x + p * channels * plane;
      const float* noises = noise + p * channels * plane;
      const float* own = e + (p * conditions + subject[pm]) * channels * plane;
      for (int64_t k = 0; k < conditions; ++k) {
        const float w = weight[pm * conditions + k] * inverse;
        if (w == 0) continue;
        const float* other = e + (p * conditions + k) * channels * plane;
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t dy = c % folded / fold, dx = c % fold;
          for (int64_t h = 0; h < height; ++h) {
            float* to = map + (h * fold + dy) * width * fold + dx;
            const int64_t from = c * plane + h * width;
            for (int64_t i = 0; i < width; ++i) {
              const float y = target_x[p] * xs[from + i] + target_noise[p] * noises[from + i];
              const float a = own[from + i], b = other[from + i];
              to[i * fold] += w * ((a - b) * (2 * y - a - b));
            }
          }
        }
      }
    }
  });
}

}  // namespace diffmine
