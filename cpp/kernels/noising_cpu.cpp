// CPU twin of noising.cu.
#include "kernels/noising.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace diffmine {
namespace {

template <class T>
void add_noise(T* out, const float* x, const float* noise, const float* a, const float* s, int64_t rows, int64_t channels, int64_t pixels) {
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

void add_noise_cpu(void* out, Element element, const float* x, const float* noise, const float* a, const float* s, int64_t rows,
                   int64_t channels, int64_t pixels, void*) {
  switch (element) {
    case Element::kFloat32: return add_noise(static_cast<float*>(out), x, noise, a, s, rows, channels, pixels);
    case Element::kFloat16: return add_noise(static_cast<c10::Half*>(out), x, noise, a, s, rows, channels, pixels);
    case Element::kBFloat16: return add_noise(static_cast<c10::BFloat16*>(out), x, noise, a, s, rows, channels, pixels);
  }
}

}  // namespace diffmine
