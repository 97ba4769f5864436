#include "kernels/rows.h"

#include "kernels/simd.h"

namespace diffmine {

extern const RowKernels rows_kernels_default;
#ifdef DIFFMINE_SIMD
extern const RowKernels rows_kernels_avx2, rows_kernels_avx512;
#endif

const RowKernels& row_kernels() {
#ifdef DIFFMINE_SIMD
  static const RowKernels& chosen = of_this_processor(rows_kernels_default, rows_kernels_avx2, rows_kernels_avx512);
  return chosen;
#else
  return rows_kernels_default;
#endif
}

}  // namespace diffmine
