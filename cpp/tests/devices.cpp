#include "devices.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "core/backends.h"
#include "core/device.h"
#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace diffmine::test {

std::vector<at::Device> devices() {
  std::vector<at::Device> all{at::kCPU};
#ifdef DIFFMINE_CUDA
  if (c10::cuda::device_count() > 0) {
    all.emplace_back(at::kCUDA, 0);
    set_up_backends(all.back());  // fp32 is compared as fp32
  }
#endif
  if (std::getenv("DIFFMINE_REQUIRE_GPU")) REQUIRE_MESSAGE(all.size() > 1, "no GPU was found");
  return all;
}

}  // namespace diffmine::test
