// Noising, of noise that is there: one thread an output dtype, in the output's order, so that writes are coalesced; the
// few channels make the reads cheap.
#include "core/philox.h"
#include "kernels/launch.cuh"
#include "kernels/noising.h"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

template <class T>
__global__ void add_noise(T* __restrict__ out, const float* __restrict__ x, const float* __restrict__ noise,
                          const float* __restrict__ a, const float* __restrict__ s, int64_t rows, int64_t channels,
                          int64_t pixels) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= rows * pixels * channels) return;
  const int64_t c = i % channels, pixel = i / channels % pixels, row = i / (channels * pixels);
  const int64_t from = (row * channels + c) * pixels + pixel;
  from_float(a[row] * x[from] + s[row] * noise[from], out[i]);
}

// One thread a block of four numbers, in the order of the noise.
template <class T>
__global__ void draw_and_add_noise(T* __restrict__ out, float* __restrict__ noise, const float* __restrict__ latents,
                                   const int64_t* __restrict__ image, const int64_t* __restrict__ sample,
                                   const float* __restrict__ a, const float* __restrict__ s, int64_t rows,
                                   int64_t channels, int64_t pixels, int64_t blocks, uint64_t seed,
                                   uint32_t stream_word) {
  const int64_t size = channels * pixels;
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= rows * blocks) return;
  const int64_t row = i / blocks, block = i % blocks;
  const Float4 z = normal_block(seed, static_cast<uint32_t>(sample[row]), static_cast<Stream>(stream_word), block);
  const float four[4] = {z.x, z.y, z.z, z.w}, own = a[row], added = s[row];
  const float* from = latents + image[row] * size;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t at = 4 * block + k;
    if (at < size) {
      noise[row * size + at] = four[k];
      from_float(own * from[at] + added * four[k], out[(row * pixels + at % pixels) * channels + at / pixels]);
    }
  }
}

}  // namespace

void launch_add_noise(void* out, Dtype dtype, const float* x, const float* noise, const float* a, const float* s,
                      int64_t rows, int64_t channels, int64_t pixels, void* cuda_stream) {
  const int64_t n = rows * channels * pixels;
  if (n == 0) return;
  by_dtype(dtype, [&](auto number) {
    using T = decltype(number);
    launch("add_noise", add_noise<T>, {blocks_of(n)}, cuda_stream, static_cast<T*>(out), x, noise, a, s, rows, channels,
           pixels);
  });
}

void launch_draw_and_add_noise(void* out, Dtype dtype, float* noise, const float* latents, const int64_t* image,
                               const int64_t* sample, const float* a, const float* s, int64_t rows, int64_t channels,
                               int64_t pixels, uint64_t seed, uint32_t stream_word, void* cuda_stream) {
  const int64_t blocks = (channels * pixels + 3) / 4;
  if (rows * blocks == 0) return;
  by_dtype(dtype, [&](auto number) {
    using T = decltype(number);
    launch("draw_and_add_noise", draw_and_add_noise<T>, {blocks_of(rows * blocks)}, cuda_stream, static_cast<T*>(out),
           noise, latents, image, sample, a, s, rows, channels, pixels, blocks, seed, stream_word);
  });
}

}  // namespace diffmine
