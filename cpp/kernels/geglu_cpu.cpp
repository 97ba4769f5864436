// CPU implementation of geglu.cu.
#include "kernels/geglu.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/rows.h"

namespace diffmine {

void geglu_cpu(void* out, const void* x, Dtype dtype, int64_t rows, int64_t channels, void*) {
  if (channels == 0) return;
  const int64_t bytes = channels * dtype_bytes(dtype);
  at::parallel_for(0, rows, std::max<int64_t>(1, 8192 / channels), [&](int64_t begin, int64_t end) {
    row_kernels().geglu(static_cast<char*>(out) + begin * bytes, static_cast<const char*>(x) + 2 * begin * bytes, dtype,
                        end - begin, channels);
  });
}

}  // namespace diffmine
