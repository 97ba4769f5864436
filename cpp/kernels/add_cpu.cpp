// CPU implementation of add.cu.
#include "kernels/add.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/rows.h"

namespace diffmine {

void add_cpu(void* x, const void* residual, const float* v, AddShape shape, void*) {
  if (shape.channels * shape.pixels == 0) return;
  const int64_t bytes = shape.channels * dtype_bytes(shape.dtype);
  at::parallel_for(0, shape.batch * shape.pixels, std::max<int64_t>(1, 32768 / shape.channels),
                   [&](int64_t begin, int64_t end) {
                     while (begin < end) {  // the rows of one image at a time
                       const int64_t b = begin / shape.pixels, pixel = begin % shape.pixels,
                                     n = std::min(end - begin, shape.pixels - pixel);
                       const int64_t from = b / shape.residual_sharing * shape.pixels + pixel;
                       row_kernels().add(static_cast<char*>(x) + begin * bytes,
                                         residual ? static_cast<const char*>(residual) + from * bytes : nullptr,
                                         v ? v + b / shape.vector_sharing * shape.channels : nullptr, shape.dtype, n,
                                         shape.channels);
                       begin += n;
                     }
                   });
}

}  // namespace diffmine
