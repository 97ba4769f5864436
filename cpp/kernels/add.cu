// Additions in place: one thread a pack of x.
#include "kernels/add.h"
#include "kernels/launch.cuh"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

template <class T, int kCount>
__global__ void add(T* __restrict__ x, const T* __restrict__ residual, const float* __restrict__ v, AddShape shape) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t packs = shape.channels / kCount, image = shape.pixels * packs;
  if (i >= shape.batch * image) return;
  const int64_t b = i / image;
  float value[kCount], addend[kCount];
  load(x + i * kCount, value);
  if (residual) {
    load(residual + (b / shape.residual_sharing * image + i % image) * kCount, addend);
#pragma unroll
    for (int k = 0; k < kCount; ++k) value[k] += addend[k];
  }
  if (v) {
    load_floats(v + b / shape.vector_sharing * shape.channels + i % packs * kCount, addend);
#pragma unroll
    for (int k = 0; k < kCount; ++k) value[k] += addend[k];
  }
  store(x + i * kCount, value);
}

}  // namespace

void launch_add(void* x, const void* residual, const float* v, AddShape shape, void* cuda_stream) {
  const int64_t n = shape.batch * shape.pixels * shape.channels;
  if (n == 0) return;
  by_pack(
      shape.dtype, shape.channels,
      [&](auto number, auto width) {
        using T = decltype(number);
        constexpr int kCount = decltype(width)::value;
        launch("add", add<T, kCount>, {blocks_of(n / kCount)}, cuda_stream, static_cast<T*>(x),
               static_cast<const T*>(residual), v, shape);
      },
      x, residual, v);
}

}  // namespace diffmine
