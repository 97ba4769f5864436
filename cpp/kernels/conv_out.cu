// A warp computes kPixels neighboring pixels of one row and one group of outputs. Its lanes share the 9 C / kCount
// packs of input channels, so that a weight is read once for all pixels and neighboring lanes read neighboring
// addresses; their sums are added at the end, in a fixed order.
#include "kernels/conv_out.h"
#include "kernels/launch.cuh"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

constexpr int kPixels = 8;
constexpr int kOutputs = static_cast<int>(kConvOutGroup);

template <class T, int kCount>
__global__ void __launch_bounds__(kThreads)
    conv_out(float* __restrict__ out, const T* __restrict__ x, const float* __restrict__ weight,
             const float* __restrict__ bias, ConvOutShape shape, int64_t runs, int64_t groups) {
  const int64_t warp = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32, row = warp / groups / runs;
  if (row >= shape.batch * shape.height) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t group = warp % groups, y = row % shape.height, first = warp / groups % runs * kPixels;
  const int packs = static_cast<int>(shape.channels) / kCount;
  float sum[kPixels][kOutputs] = {};
  for (int item = lane; item < 9 * packs; item += 32) {
    const int tap = item / packs, c = item % packs * kCount;
    const int64_t from_y = y + tap / 3 - 1, from_x = first + tap % 3 - 1;
    if (from_y < 0 || from_y >= shape.height) continue;
    float w[kCount * kOutputs];
    load_floats(weight + ((group * 9 + tap) * shape.channels + c) * kOutputs, w);
    const T* from = x + ((row + tap / 3 - 1) * shape.width + from_x) * shape.channels + c;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      if (from_x + p < 0 || from_x + p >= shape.width) continue;
      float value[kCount];
      load(from + p * shape.channels, value);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) sum[p][o] = fmaf(value[i], w[i * kOutputs + o], sum[p][o]);
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      const float total = warp_sum(sum[p][o]);
      const int64_t output = group * kOutputs + o;
      if (lane == p * kOutputs + o && first + p < shape.width && output < shape.outputs) {
        out[(row * shape.width + first + p) * shape.outputs + output] = total + bias[output];
      }
    }
  }
}
static_assert(kPixels * kOutputs == 32, "each lane writes one sum");

}  // namespace

void launch_conv_out(float* out, const void* x, const float* weight, const float* bias, ConvOutShape shape,
                     void* cuda_stream) {
  const int64_t rows = shape.batch * shape.height, runs = (shape.width + kPixels - 1) / kPixels,
                groups = (shape.outputs + kOutputs - 1) / kOutputs;
  if (rows * runs * groups == 0) return;
  check_size(9 * shape.channels <= INT32_MAX, "conv_out");
  by_pack(
      shape.dtype, shape.channels,
      [&](auto number, auto width) {
        using T = decltype(number);
        launch("conv_out", conv_out<T, decltype(width)::value>, {blocks_of(rows * runs * groups * 32)}, cuda_stream,
               out, static_cast<const T*>(x), weight, bias, shape, runs, groups);
      },
      x, weight);
}

}  // namespace diffmine
