#include "kernels/winograd.h"

#include "kernels/simd.h"

namespace diffmine {

extern const WinogradKernels winograd_kernels_default;
#ifdef DIFFMINE_SIMD
extern const WinogradKernels winograd_kernels_avx2, winograd_kernels_avx512;
#endif

const WinogradKernels& winograd_kernels() {
#ifdef DIFFMINE_SIMD
  static const WinogradKernels& chosen =
      of_this_processor(winograd_kernels_default, winograd_kernels_avx2, winograd_kernels_avx512);
  return chosen;
#else
  return winograd_kernels_default;
#endif
}

}  // namespace diffmine
