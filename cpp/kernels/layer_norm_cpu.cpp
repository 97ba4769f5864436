// CPU implementation of layer_norm.cu.
#include "kernels/layer_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/rows.h"

namespace diffmine {

void layer_norm_cpu(void* out, const void* x, Dtype dtype, const float* weight, const float* bias, const float* add,
                    int64_t rows, int64_t channels, double eps, void*) {
  if (channels == 0) return;
  const int64_t bytes = channels * dtype_bytes(dtype);
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / channels), [&](int64_t begin, int64_t end) {
    row_kernels().layer_norm(static_cast<char*>(out) + begin * bytes, static_cast<const char*>(x) + begin * bytes,
                             dtype, end - begin, channels, weight, bias, add, static_cast<float>(eps));
  });
}

}  // namespace diffmine
