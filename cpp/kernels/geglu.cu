// GEGLU: one thread a pack of outputs.
#include "kernels/geglu.h"
#include "kernels/launch.cuh"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

template <class T, int kCount>
__global__ void geglu(T* __restrict__ out, const T* __restrict__ x, int64_t packs, int64_t packs_a_row) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= packs) return;
  const int64_t from = (i / packs_a_row * packs_a_row + i) * kCount;  // row r of x begins at 2 r packs_a_row
  float hidden[kCount], gate[kCount];
  load(x + from, hidden);
  load(x + from + packs_a_row * kCount, gate);
#pragma unroll
  for (int k = 0; k < kCount; ++k) hidden[k] *= 0.5f * gate[k] * (1.0f + erff(gate[k] * 0.70710678118654752f));
  store(out + i * kCount, hidden);
}

}  // namespace

void launch_geglu(void* out, const void* x, Dtype dtype, int64_t rows, int64_t channels, void* cuda_stream) {
  if (rows * channels == 0) return;
  by_pack(
      dtype, channels,
      [&](auto number, auto width) {
        using T = decltype(number);
        constexpr int kCount = decltype(width)::value;
        const int64_t a_row = channels / kCount, packs = rows * a_row;
        launch("geglu", geglu<T, kCount>, {blocks_of(packs)}, cuda_stream, static_cast<T*>(out),
               static_cast<const T*>(x), packs, a_row);
      },
      x, out);
}

}  // namespace diffmine
