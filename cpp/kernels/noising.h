// x_t = a x + s eps, written straight into the layout (channels last) and the precision the UNet reads.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace diffmine {

// out [rows, pixels, channels] of `element` = a[row] x + s[row] noise; x, noise [rows, channels, pixels]; a, s [rows].
void launch_add_noise(void* out, Element element, const float* x, const float* noise, const float* a, const float* s, int64_t rows,
                      int64_t channels, int64_t pixels, void* cuda_stream);
void add_noise_cpu(void* out, Element element, const float* x, const float* noise, const float* a, const float* s, int64_t rows,
                   int64_t channels, int64_t pixels, void* cuda_stream = nullptr);

}  // namespace diffmine
