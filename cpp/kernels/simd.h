// Kernels that are compiled once for each instruction set (cmake/simd.cmake): which of them this machine can run is
// found out when the program runs.
#pragma once
#include <ATen/Version.h>

#include <string>

namespace diffmine {

// LibTorch's own choice, so that ATEN_CPU_CAPABILITY holds here too.
template <class Kernels>
const Kernels& of_this_processor(const Kernels& baseline, const Kernels& avx2, const Kernels& avx512) {
  const std::string capability = at::get_cpu_capability();
  if (capability.find("AVX512") != std::string::npos) return avx512;
  if (capability.find("AVX2") != std::string::npos) return avx2;
  return baseline;
}

}  // namespace diffmine
