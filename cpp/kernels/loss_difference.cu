// Loss difference: one thread an dtype of an output map, looping over its conditions and channels; nothing but the map
// is written.
#include "kernels/launch.cuh"
#include "kernels/loss_difference.h"

namespace diffmine {
namespace {

__global__ void loss_difference(float* __restrict__ out, const float* __restrict__ e, const float* __restrict__ x,
                                const float* __restrict__ noise, const float* __restrict__ target_x,
                                const float* __restrict__ target_noise, const int64_t* __restrict__ subject,
                                const float* __restrict__ weight, LossShape shape) {
  const int64_t fold = shape.fold, folded = fold * fold, plane = shape.height * shape.width, map = plane * folded;
  const float inverse = static_cast<float>(folded) / static_cast<float>(shape.channels);
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= shape.rows * shape.outputs * map) return;
  const int64_t pm = i / map, p = pm / shape.outputs;
  const int64_t row = i % map / (shape.width * fold), column = i % (shape.width * fold);
  const int64_t first = row % fold * fold + column % fold;  // the pixel's first channel; the next is `folded` further
  const int64_t cell = row / fold * shape.width + column / fold;
  const float* own = e + (p * shape.conditions + subject[pm]) * shape.channels * plane;
  float sum = 0;
  for (int64_t k = 0; k < shape.conditions; ++k) {
    const float w = weight[pm * shape.conditions + k] * inverse;
    if (w == 0) continue;
    const float* other = e + (p * shape.conditions + k) * shape.channels * plane;
    for (int64_t c = first; c < shape.channels; c += folded) {
      const int64_t at = c * plane + cell, of_row = p * shape.channels * plane + at;
      const float y = target_x[p] * x[of_row] + target_noise[p] * noise[of_row];
      const float a = own[at], b = other[at];
      sum += w * ((a - b) * (2 * y - a - b));
    }
  }
  out[i] = sum;
}

}  // namespace

void launch_loss_difference(float* out, const float* e, const float* x, const float* noise, const float* target_x,
                            const float* target_noise, const int64_t* subject, const float* weight, LossShape shape,
                            void* cuda_stream) {
  const int64_t n = shape.rows * shape.outputs * shape.height * shape.width * shape.fold * shape.fold;
  if (n == 0) return;
  launch("loss_difference", loss_difference, {blocks_of(n)}, cuda_stream, out, e, x, noise, target_x, target_noise,
         subject, weight, shape);
}

}  // namespace diffmine
