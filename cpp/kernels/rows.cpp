#include "kernels/rows.h"

#include <ATen/Version.h>

#include <string>

namespace diffmine {

extern const RowKernels row_kernels_default;
#ifdef DIFFMINE_SIMD
extern const RowKernels row_kernels_avx2, row_kernels_avx512;
#endif

const RowKernels& row_kernels() {
  static const RowKernels& chosen = []() -> const RowKernels& {
#ifdef DIFFMINE_SIMD
    const std::string capability = at::get_cpu_capability();  // LibTorch's own choice, so that ATEN_CPU_CAPABILITY holds here too
    if (capability.find("AVX512") != std::string::npos) return row_kernels_avx512;
    if (capability.find("AVX2") != std::string::npos) return row_kernels_avx2;
#endif
    return row_kernels_default;
  }();
  return chosen;
}

}  // namespace diffmine
