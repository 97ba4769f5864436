// Loss difference: one thread per element of an output map, its mean in a register over the samples.
#include "kernels/launch.cuh"
#include "kernels/loss_difference.h"

namespace diffmine {
namespace {

constexpr int kMapThreads = 64;  // maps are small: 64 x 64 elements should reach many multiprocessors

__global__ void __launch_bounds__(kMapThreads)
    loss_difference(float* __restrict__ differences, float* __restrict__ mean, const float* __restrict__ e,
                    const float* __restrict__ x, const float* __restrict__ noise, const float* __restrict__ target_x,
                    const float* __restrict__ target_noise, const float* __restrict__ scale,
                    const int64_t* __restrict__ subject, const float* __restrict__ weight, LossShape shape) {
  const int64_t fold = shape.fold, folded = fold * fold, plane = shape.height * shape.width, map = plane * folded;
  const int64_t row_size = shape.channels * plane;
  const int64_t i = blockIdx.x * static_cast<int64_t>(kMapThreads) + threadIdx.x;
  if (i >= shape.outputs * map) return;
  const int64_t m = i / map, row = i % map / (shape.width * fold), column = i % (shape.width * fold);
  const int64_t first = row % fold * fold + column % fold;  // the pixel's first channel; the next is `folded` further
  const int64_t cell = row / fold * shape.width + column / fold;
  const float inverse = static_cast<float>(folded) / static_cast<float>(shape.channels);
  float running_mean = mean[i];
#pragma unroll 2
  for (int64_t s = 0; s < shape.samples; ++s) {
    const float* own = e + (s * shape.conditions + subject[m]) * row_size;
    float sum = 0;
    for (int64_t k = 0; k < shape.conditions; ++k) {
      const float w = weight[m * shape.conditions + k] * inverse;
      if (w == 0) continue;
      const float* other = e + (s * shape.conditions + k) * row_size;
      for (int64_t c = first; c < shape.channels; c += folded) {
        const int64_t at = c * shape.e_channel + cell * shape.e_cell, of_row = c * plane + cell;
        const float y = target_x[s] * x[of_row] + target_noise[s] * noise[s * row_size + of_row];
        const float a = own[at], b = other[at];
        sum += w * loss_gap(shape.loss, a, b, y);
      }
    }
    sum *= scale[s];
    if (differences) differences[s * shape.outputs * map + i] = sum;
    running_mean += (sum - running_mean) * (1.0f / static_cast<float>(shape.count + s + 1));
  }
  mean[i] = running_mean;
}

}  // namespace

void launch_loss_difference(float* differences, float* mean, const float* e, const float* x, const float* noise,
                            const float* target_x, const float* target_noise, const float* scale,
                            const int64_t* subject, const float* weight, LossShape shape, void* cuda_stream) {
  const int64_t n = shape.outputs * shape.height * shape.width * shape.fold * shape.fold;
  if (n * shape.samples == 0) return;
  const int64_t blocks = (n + kMapThreads - 1) / kMapThreads;
  check_size(blocks <= INT32_MAX, "loss_difference");
  launch("loss_difference", loss_difference, {static_cast<unsigned>(blocks), kMapThreads}, cuda_stream, differences,
         mean, e, x, noise, target_x, target_noise, scale, subject, weight, shape);
}

}  // namespace diffmine
