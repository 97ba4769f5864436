// x_t = a x + s eps, written straight into the layout (channels last) and the precision the UNet reads.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

// out [rows, pixels, channels] of `dtype` = a[row] x + s[row] noise; x, noise [rows, channels, pixels]; a, s [rows].
void launch_add_noise(void* out, Dtype dtype, const float* x, const float* noise, const float* a, const float* s,
                      int64_t rows, int64_t channels, int64_t pixels, void* cuda_stream);
void add_noise_cpu(void* out, Dtype dtype, const float* x, const float* noise, const float* a, const float* s,
                   int64_t rows, int64_t channels, int64_t pixels, void* cuda_stream = nullptr);

// The noise drawn in the same pass: noise[r] is sample[r] of the stream (core/philox.h), and
//   out[r] = a[r] latents[image[r]] + s[r] noise[r].
// out [rows, pixels, channels]; noise [rows, channels, pixels]; latents [B, channels, pixels]; image,
// sample, a, s [rows].
void launch_draw_and_add_noise(void* out, Dtype dtype, float* noise, const float* latents, const int64_t* image,
                               const int64_t* sample, const float* a, const float* s, int64_t rows, int64_t channels,
                               int64_t pixels, uint64_t seed, uint32_t stream_word, void* cuda_stream);
void draw_and_add_noise_cpu(void* out, Dtype dtype, float* noise, const float* latents, const int64_t* image,
                            const int64_t* sample, const float* a, const float* s, int64_t rows, int64_t channels,
                            int64_t pixels, uint64_t seed, uint32_t stream_word, void* cuda_stream = nullptr);

}  // namespace diffmine
