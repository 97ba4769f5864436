// CPU implementation of noising.cu.
#include "kernels/noising.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "kernels/noise.h"

namespace diffmine {
namespace {

template <class T>
void add_noise(T* out, const float* x, const float* noise, const float* a, const float* s, int64_t rows,
               int64_t channels, int64_t pixels) {
  at::parallel_for(0, rows * pixels, 8192, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pixels, from = row * channels * pixels + i % pixels;
      for (int64_t c = 0; c < channels; ++c) {
        out[i * channels + c] = static_cast<T>(a[row] * x[from + c * pixels] + s[row] * noise[from + c * pixels]);
      }
    }
  });
}

}  // namespace

void add_noise_cpu(void* out, Dtype dtype, const float* x, const float* noise, const float* a, const float* s,
                   int64_t rows, int64_t channels, int64_t pixels, void*) {
  switch (dtype) {
    case Dtype::kFloat32: return add_noise(static_cast<float*>(out), x, noise, a, s, rows, channels, pixels);
    case Dtype::kFloat16: return add_noise(static_cast<c10::Half*>(out), x, noise, a, s, rows, channels, pixels);
    case Dtype::kBFloat16: return add_noise(static_cast<c10::BFloat16*>(out), x, noise, a, s, rows, channels, pixels);
  }
}

// Row by row: what a row needs stays in the cache. A row alone is shared out by the two steps themselves.
void draw_and_add_noise_cpu(void* out, Dtype dtype, float* noise, const float* latents, const int64_t* image,
                            const int64_t* sample, const float* a, const float* s, int64_t rows, int64_t channels,
                            int64_t pixels, uint64_t seed, uint32_t stream_word, void*) {
  const int64_t size = channels * pixels;
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      philox_normal_cpu(noise + row * size, sample[row], 1, size, seed, stream_word);
      add_noise_cpu(static_cast<char*>(out) + row * size * dtype_bytes(dtype), dtype, latents + image[row] * size,
                    noise + row * size, a + row, s + row, 1, channels, pixels);
    }
  });
}

}  // namespace diffmine
